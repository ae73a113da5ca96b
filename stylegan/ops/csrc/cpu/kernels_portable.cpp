// The kernels for any processor that GCC or Clang knows, in vectors of four floats.

#define KERNELS kernels_portable
#define VECTOR_FLOATS 4
#include "kernels.h"
