// The kernels for AVX-512: 32 registers of sixteen floats.
// build flags x86_64: -mavx512f -mavx512vl -mavx512dq -mavx512bw -mfma

#ifdef __AVX512F__
#define KERNELS kernels_avx512
#define VECTOR_FLOATS 16
#include "kernels.h"
#endif
