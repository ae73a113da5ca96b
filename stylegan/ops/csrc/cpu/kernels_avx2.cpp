// The kernels for AVX2 with FMA: 16 registers of eight floats.
// build flags x86_64: -mavx2 -mfma

#ifdef __AVX2__
#define KERNELS kernels_avx2
#define VECTOR_FLOATS 8
#include "kernels.h"
#endif
