// Zero-insert, pad or crop, filter, decimate; and, for the filter behind a transposed convolution, the rest of the
// synthesis layer in the same pass: y = clamp(leaky_relu(filtered * scale + noise + bias) * gain).

#include "common.cuh"

// Mirrored in cuda.py. The position k of the filter over output o lies at o * down - pad + k of the zero-inserted image.
struct UpFirDn2d {
    const void* x;       // [samples, channels, in_h, in_w], in planes or channels last, dense
    const void* filter;  // [taps_y, taps_x] of the computing type (float16: float32)
    void* y;             // [samples, channels, out_h, out_w], laid out as x
    const void* scale;   // the epilogue: [samples, channels] or null,
    const void* noise;   // [out_h, out_w], or one a sample with noise_stride = out_h * out_w, or null,
    const void* bias;    // [channels] or null; all of the computing type
    int64_t samples, channels, in_h, in_w, out_h, out_w, noise_stride;
    double filter_gain, alpha, gain, clamp;  // clamp < 0: none
    int32_t taps_x, taps_y, up_x, up_y, down_x, down_y, pad_x, pad_y;
    int32_t flip;  // 1 correlates, 0 convolves
    int32_t epilogue, dtype, last;
};

namespace fergan {

// Distance in elements of neighbouring samples, channels, rows and columns.
struct Strides {
    int64_t sample, channel, row, column;
};

__device__ inline Strides strides(const UpFirDn2d& p, int64_t h, int64_t w) {
    if (p.last) return {h * w * p.channels, 1, w * p.channels, p.channels};
    return {p.channels * h * w, h * w, w, 1};
}

// One element of an output: any factors, any filter.
template <typename T> __global__ void __launch_bounds__(THREADS) any_filter(const UpFirDn2d p) {
    using R = Real<T>;
    const int64_t i = thread_index();
    if (i >= p.samples * p.channels * p.out_h * p.out_w) return;
    int64_t sample, channel, oy, ox;
    if (p.last) {
        sample = split(split(split(i, p.channels, channel), p.out_w, ox), p.out_h, oy);
    } else {
        sample = split(split(split(i, p.out_w, ox), p.out_h, oy), p.channels, channel);
    }
    const Strides s = strides(p, p.in_h, p.in_w);
    const T* x = static_cast<const T*>(p.x) + sample * s.sample + channel * s.channel;
    const R* filter = static_cast<const R*>(p.filter);

    // Only every up-th position holds a pixel; the first one at or behind the filter's start:
    const int64_t start_y = oy * p.down_y - p.pad_y, start_x = ox * p.down_x - p.pad_x;
    const int64_t first_y = (p.up_y - start_y % p.up_y) % p.up_y, first_x = (p.up_x - start_x % p.up_x) % p.up_x;
    R sum = 0;
    int64_t iy = (start_y + first_y) / p.up_y;
    for (int64_t ky = first_y; ky < p.taps_y; ky += p.up_y, ++iy) {
        if (iy < 0 || iy >= p.in_h) continue;
        int64_t ix = (start_x + first_x) / p.up_x;
        for (int64_t kx = first_x; kx < p.taps_x; kx += p.up_x, ++ix) {
            if (ix < 0 || ix >= p.in_w) continue;
            const int64_t fy = p.flip ? ky : p.taps_y - 1 - ky, fx = p.flip ? kx : p.taps_x - 1 - kx;
            sum += widen(x[iy * s.row + ix * s.column]) * filter[fy * p.taps_x + fx];
        }
    }
    static_cast<T*>(p.y)[i] = narrow<T>(sum * R(p.filter_gain));
}

// A tile of TY x TX outputs of V channels, for the 4x4 filters of StyleGAN2. Everything about the tile is known to the
// compiler, so sums and filter stay in registers, each input row is read once a tile, and the threads of a warp read
// neighbours: pixels of a row in planes (V = 1), channels of a pixel otherwise. Overlaps of tiles come out of the cache.
// Factors are the same in x and y, one of them 1; with UP = 2 the paddings are even.
template <typename T, int UP, int DOWN, int V, int TX, int TY, bool LAST>
__global__ void __launch_bounds__(THREADS) four_by_four(const UpFirDn2d p) {
    using R = Real<T>;
    constexpr int TAPS = 4;
    constexpr int ROWS = ((TY - 1) * DOWN + TAPS - 1) / UP + 1, COLUMNS = ((TX - 1) * DOWN + TAPS - 1) / UP + 1;
    const int64_t across = (p.out_w + TX - 1) / TX, downward = (p.out_h + TY - 1) / TY;
    int64_t sample, channel, tile_y, tile_x;
    if (LAST) {
        sample = split(split(split(thread_index(), p.channels / V, channel), across, tile_x), downward, tile_y);
        channel *= V;
    } else {
        sample = split(split(split(thread_index(), across, tile_x), downward, tile_y), p.channels, channel);
    }
    if (sample >= p.samples) return;

    R filter[TAPS][TAPS];
#pragma unroll
    for (int ky = 0; ky < TAPS; ++ky)
#pragma unroll
        for (int kx = 0; kx < TAPS; ++kx) {
            const int k = p.flip ? ky * TAPS + kx : TAPS * TAPS - 1 - ky * TAPS - kx;
            filter[ky][kx] = static_cast<const R*>(p.filter)[k] * R(p.filter_gain);
        }

    R sum[TY][TX][V] = {};
    const Strides s = strides(p, p.in_h, p.in_w);
    const int64_t first_y = (tile_y * TY * DOWN - p.pad_y) / UP, first_x = (tile_x * TX * DOWN - p.pad_x) / UP;
    const T* x = static_cast<const T*>(p.x) + sample * s.sample + channel * s.channel;
#pragma unroll
    for (int row = 0; row < ROWS; ++row) {
        const int64_t iy = first_y + row;
        if (iy < 0 || iy >= p.in_h) continue;
        R line[COLUMNS][V] = {};
#pragma unroll
        for (int column = 0; column < COLUMNS; ++column) {
            const int64_t ix = first_x + column;
            if (ix < 0 || ix >= p.in_w) continue;
            const auto pack = *reinterpret_cast<const Pack<T, V>*>(x + iy * s.row + ix * s.column);
#pragma unroll
            for (int v = 0; v < V; ++v) line[column][v] = widen(pack.at[v]);
        }
#pragma unroll
        for (int dy = 0; dy < TY; ++dy) {
            const int ky = row * UP - dy * DOWN;  // the tap that lies on this row
            if (ky < 0 || ky >= TAPS) continue;
#pragma unroll
            for (int dx = 0; dx < TX; ++dx)
#pragma unroll
                for (int column = 0; column < COLUMNS; ++column) {
                    const int kx = column * UP - dx * DOWN;
                    if (kx < 0 || kx >= TAPS) continue;
#pragma unroll
                    for (int v = 0; v < V; ++v) sum[dy][dx][v] += line[column][v] * filter[ky][kx];
                }
        }
    }

    const Strides t = strides(p, p.out_h, p.out_w);
    T* y = static_cast<T*>(p.y) + sample * t.sample + channel * t.channel;
    const Epilogue<R> end{R(p.alpha), R(p.gain), R(p.clamp)};
    const R* scale = static_cast<const R*>(p.scale) + sample * p.channels + channel;
    const R* bias = static_cast<const R*>(p.bias) + channel;
    const R* noise = static_cast<const R*>(p.noise) + sample * p.noise_stride;
#pragma unroll
    for (int dy = 0; dy < TY; ++dy) {
        const int64_t oy = tile_y * TY + dy;
        if (oy >= p.out_h) continue;
#pragma unroll
        for (int dx = 0; dx < TX; ++dx) {
            const int64_t ox = tile_x * TX + dx;
            if (ox >= p.out_w) continue;
            Pack<T, V> out;
#pragma unroll
            for (int v = 0; v < V; ++v) {
                R u = sum[dy][dx][v];
                if (UP == 1 && DOWN == 1 && p.epilogue) {
                    if (p.scale) u *= scale[v];
                    if (p.noise) u += noise[oy * p.out_w + ox];
                    if (p.bias) u += bias[v];
                    u = end(u);
                }
                out.at[v] = narrow<T>(u);
            }
            *reinterpret_cast<Pack<T, V>*>(y + oy * t.row + ox * t.column) = out;
        }
    }
}

template <typename T, int UP, int DOWN, int V, int TX, int TY, bool LAST>
int run_tiles(const UpFirDn2d& p, cudaStream_t stream) {
    const int64_t tiles = ((p.out_w + TX - 1) / TX) * ((p.out_h + TY - 1) / TY);
    return launch(stream, p.samples * (p.channels / V) * tiles, four_by_four<T, UP, DOWN, V, TX, TY, LAST>, p);
}

template <typename T> int run(const UpFirDn2d& p, cudaStream_t stream) {
    constexpr int V = sizeof(T) == 8 ? 2 : 4;
    const auto aligned = [](const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % (V * sizeof(T)) == 0; };
    const bool square = p.up_x == p.up_y && p.down_x == p.down_y && p.taps_x == 4 && p.taps_y == 4;
    const bool packs = !p.last || (p.channels % V == 0 && aligned(p.x) && aligned(p.y));
    const int up = p.up_x, down = p.down_x;
    if (square && packs) {
        if (up == 1 && down == 1)
            return p.last ? run_tiles<T, 1, 1, V, 2, 4, true>(p, stream) : run_tiles<T, 1, 1, 1, 1, 8, false>(p, stream);
        if (up == 2 && down == 1 && p.pad_x % 2 == 0 && p.pad_y % 2 == 0)
            return p.last ? run_tiles<T, 2, 1, V, 2, 4, true>(p, stream) : run_tiles<T, 2, 1, 1, 2, 4, false>(p, stream);
        if (up == 1 && down == 2)
            return p.last ? run_tiles<T, 1, 2, V, 2, 2, true>(p, stream) : run_tiles<T, 1, 2, 1, 1, 4, false>(p, stream);
    }
    if (p.epilogue) return cudaErrorInvalidValue;  // cuda.py asks for it with the 4x4 filter only
    return launch(stream, p.samples * p.channels * p.out_h * p.out_w, any_filter<T>, p);
}

}  // namespace fergan

// Returns a cudaError_t. Nothing is checked here but what the launch itself checks; cuda.py passes dense tensors.
FERGAN_EXPORT int fergan_upfirdn2d(const UpFirDn2d* p, cudaStream_t stream) {
    switch (p->dtype) {
        case FLOAT16: return fergan::run<__half>(*p, stream);
        case FLOAT32: return fergan::run<float>(*p, stream);
        case FLOAT64: return fergan::run<double>(*p, stream);
    }
    return cudaErrorInvalidValue;
}
