// The part of CUDA's runtime that the kernels use, for a CPU: each thread of the grid is one turn of a loop.
//
// The kernels' own sources are compiled with this, so that their indexing and arithmetic can be tested without a GPU.
// Nothing of it says how fast they are, nor whether threads disturb each other (they share nothing but their input).
#pragma once

#include <cmath>
#include <cstdint>

#define __device__
#define __global__
#define __launch_bounds__(threads)

using std::exp, std::expm1, std::log1p, std::tanh;

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorInvalidConfiguration = 9 };
using cudaStream_t = void*;

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    uint64_t dynamicSmemBytes;
    cudaStream_t stream;
    void* attrs;
    unsigned numAttrs;
};

inline dim3 blockIdx, threadIdx, blockDim;

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
    blockDim = config->blockDim;
    for (blockIdx.x = 0; blockIdx.x < config->gridDim.x; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) kernel(arguments...);
    return cudaSuccess;
}
