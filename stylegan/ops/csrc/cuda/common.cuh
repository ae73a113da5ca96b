// What the kernels share: number types, packs of neighbouring elements, layouts, the epilogue of a synthesis layer.
//
// The sources use nothing of CUDA but blockIdx, threadIdx, blockDim and cudaLaunchKernelEx, and no shared memory: the
// tests compile them as C++ too, where a loop stands for the grid (tests/stylegan/cuda_on_cpu).
#pragma once

#include <cstdint>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace fergan {

// Numbers are stored as T and computed with as Real<T>.
template <typename T> struct Compute { using type = T; };
template <> struct Compute<__half> { using type = float; };
template <typename T> using Real = typename Compute<T>::type;

__device__ inline float widen(__half value) { return __half2float(value); }
__device__ inline float widen(float value) { return value; }
__device__ inline double widen(double value) { return value; }

template <typename T> __device__ inline T narrow(Real<T> value) { return value; }
template <> __device__ inline __half narrow<__half>(float value) { return __float2half_rn(value); }

// V neighbouring elements, read and written in one access.
template <typename T, int V> struct alignas(sizeof(T) * V) Pack { T at[V]; };

// The usual elements of 16 bytes, as far as the hardware moves at once.
template <typename T> constexpr int PACK = 16 / sizeof(T);

// Division of indices: 64 bits where they are needed, 32 where they do, which is several times faster.
__device__ inline int64_t divide(int64_t a, int64_t b) {
    if (((a | b) >> 32) == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
    return a / b;
}

// Splits a flat index, the fastest axis first: `index = split(index, size, at)` leaves the slower axes.
__device__ inline int64_t split(int64_t index, int64_t size, int64_t& at) {
    const int64_t rest = divide(index, size);
    at = index - rest * size;
    return rest;
}

// u -> clamp(f(u) * gain), where f has slope 1 above 0 and alpha below: leaky ReLU; 1 is linear.
// clamp < 0 is none. NaN stays NaN, as it does in PyTorch.
template <typename R> struct Epilogue {
    R alpha, gain, clamp;

    __device__ R limit(R y) const { return clamp >= 0 ? (y > clamp ? clamp : (y < -clamp ? -clamp : y)) : y; }
    __device__ R operator()(R u) const { return limit((u < 0 ? (alpha == 0 ? R(0) : alpha * u) : u) * gain); }
};

// Threads of a block; every kernel is launched on a flat grid.
constexpr int THREADS = 256;

template <typename... Parameters, typename... Arguments>
int launch(cudaStream_t stream, int64_t threads, void (*kernel)(Parameters...), Arguments&&... arguments) {
    if (threads == 0) return cudaSuccess;
    const int64_t blocks = (threads + THREADS - 1) / THREADS;
    if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(THREADS);
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}

__device__ inline int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

}  // namespace fergan

#define FERGAN_EXPORT extern "C" __attribute__((visibility("default")))

enum Dtype : int32_t { FLOAT16 = 0, FLOAT32 = 1, FLOAT64 = 2 };
