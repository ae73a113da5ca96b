// y = clamp(activation(x * scale + noise + bias) * gain) in one pass, with its derivative.
//
// With all three operands it ends a modulated convolution; with the scale alone it modulates; with the bias alone it is
// the paper's bias and activation. Every element is read and written once, 16 bytes at a time where the layout allows.

#include "common.cuh"

// Mirrored in cuda.py. Element i of x (in memory order) is channel (i / inner) % channels where `last` is 0, and
// i % channels where it is 1; in the latter case `inner` is the number of pixels of a sample.
struct BiasAct {
    const void* x;      // order 0: the input; 1: the gradient by y
    const void* scale;  // [samples, channels] or null; this, noise and bias are of the computing type (float16: float32)
    const void* noise;  // [inner], or [samples, inner] with noise_stride = inner, or null
    const void* bias;   // [channels] or null
    const void* saved;  // order 1: the forward's output
    void* y;
    int64_t numel, inner, channels, noise_stride;
    double alpha, gain, clamp;  // clamp < 0: none
    int32_t order, dtype, last;
};

namespace fergan {

// Where the elements of one pack lie. In planes all V are of one channel and neighbouring pixels; channels last, they are
// of one pixel and neighbouring channels.
struct Place {
    int64_t sample, channel, pixel;
};

template <bool LAST> __device__ Place locate(const BiasAct& p, int64_t i) {
    Place at;
    const int64_t rest = split(i, LAST ? p.channels : p.inner, LAST ? at.channel : at.pixel);
    at.sample = split(rest, LAST ? p.inner : p.channels, LAST ? at.pixel : at.channel);
    return at;
}

template <typename T, int V, bool LAST> __device__ void load_input(const BiasAct& p, const void* from, int64_t i, Real<T>* u) {
    using R = Real<T>;
    const auto x = *reinterpret_cast<const Pack<T, V>*>(static_cast<const T*>(from) + i);
#pragma unroll
    for (int v = 0; v < V; ++v) u[v] = widen(x.at[v]);
    if (!p.scale && !p.noise && !p.bias) return;
    const Place at = locate<LAST>(p, i);
    const R* scale = static_cast<const R*>(p.scale) + at.sample * p.channels + at.channel;
    const R* noise = static_cast<const R*>(p.noise) + at.sample * p.noise_stride + at.pixel;
    const R* bias = static_cast<const R*>(p.bias) + at.channel;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        if (p.scale) u[v] *= scale[LAST ? v : 0];
        if (p.noise) u[v] += noise[LAST ? 0 : v];
        if (p.bias) u[v] += bias[LAST ? v : 0];
    }
}

template <typename T, int V> __device__ void store(void* to, int64_t i, const Real<T>* values) {
    Pack<T, V> y;
#pragma unroll
    for (int v = 0; v < V; ++v) y.at[v] = narrow<T>(values[v]);
    *reinterpret_cast<Pack<T, V>*>(static_cast<T*>(to) + i) = y;
}

template <typename T, int V, bool LAST> __global__ void __launch_bounds__(THREADS) forward(const BiasAct p) {
    using R = Real<T>;
    const int64_t i = thread_index() * V;
    if (i >= p.numel) return;
    const Epilogue<R> end{R(p.alpha), R(p.gain), R(p.clamp)};
    R u[V];
    load_input<T, V, LAST>(p, p.x, i, u);
#pragma unroll
    for (int v = 0; v < V; ++v) u[v] = end(u[v]);
    store<T, V>(p.y, i, u);
}

// dx = dy * gain * slope. The output tells all that is needed: its sign is the input's (gain > 0, alpha >= 0), and it
// lies at the limit where it was clamped.
template <typename T, int V> __global__ void __launch_bounds__(THREADS) slope(const BiasAct p) {
    using R = Real<T>;
    const int64_t i = thread_index() * V;
    if (i >= p.numel) return;
    const R limit = p.clamp < 0 ? R(-1) : widen(narrow<T>(R(p.clamp)));  // as the output was stored
    const R alpha = R(p.alpha), gain = R(p.gain);
    const auto dy = *reinterpret_cast<const Pack<T, V>*>(static_cast<const T*>(p.x) + i);
    const auto y = *reinterpret_cast<const Pack<T, V>*>(static_cast<const T*>(p.saved) + i);
    R dx[V];
#pragma unroll
    for (int v = 0; v < V; ++v) {
        const R out = widen(y.at[v]);
        const bool clamped = limit >= 0 && (out >= limit || out <= -limit);
        dx[v] = clamped ? R(0) : widen(dy.at[v]) * (out > 0 ? gain : gain * alpha);
    }
    store<T, V>(p.y, i, dx);
}

inline bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

template <typename T, int V, bool LAST> int run_as(const BiasAct& p, cudaStream_t stream) {
    const int64_t threads = (p.numel + V - 1) / V;
    if (p.order == 0) return launch(stream, threads, forward<T, V, LAST>, p);
    return launch(stream, threads, slope<T, V>, p);
}

template <typename T> int run(const BiasAct& p, cudaStream_t stream) {
    // A pack must not reach over the end of a plane, or of the channels of a pixel. Orders without operands have neither.
    const bool plain = !p.scale && !p.noise && !p.bias;
    const int64_t whole = plain ? p.numel : (p.last ? p.channels : p.inner);
    const bool packs = whole % PACK<T> == 0 && aligned(p.x) && aligned(p.y) && aligned(p.saved);
    if (packs) return p.last ? run_as<T, PACK<T>, true>(p, stream) : run_as<T, PACK<T>, false>(p, stream);
    return p.last ? run_as<T, 1, true>(p, stream) : run_as<T, 1, false>(p, stream);
}

}  // namespace fergan

// Returns a cudaError_t. Nothing is checked here but what the launch itself checks; cuda.py passes dense tensors.
FERGAN_EXPORT int fergan_bias_act(const BiasAct* p, cudaStream_t stream) {
    switch (p->dtype) {
        case FLOAT16: return fergan::run<__half>(*p, stream);
        case FLOAT32: return fergan::run<float>(*p, stream);
        case FLOAT64: return fergan::run<double>(*p, stream);
    }
    return cudaErrorInvalidValue;
}
