// The kernels themselves, written once over vectors of VECTOR_FLOATS floats and included by kernels_*.cpp.
//
// Every 3x3 convolution is a Winograd convolution F(4x4, 3x3) (Lavin & Gray 2016, arXiv:1509.09308): 4x4 pixels of the
// result from 6x6 of the input with 36 products for each pair of channels, in place of 144. For all tiles together that
// is 36 matrix products, one for each point of the transformed patch.
//
//   result = A^T [ (G g G^T) * (B^T d B) ] A        d: 6x6 input, g: 3x3 kernel
//
// The transforms evaluate and interpolate polynomials at the points 0, +-a, +-b and infinity. With a = sqrt(1/2) and
// b = sqrt(2) they round less than with the textbook's 1 and 2.
//
//  - The style scales the channels of the input while they are transformed, the demodulation those of the result: the
//    weights are transformed once for all faces (see ops/modulated_conv2d.py).
//  - The published up-convolution is a transposed convolution of stride 2, then a blur. Both being linear, the blur may
//    as well come first: the input transform reads the small map and upsamples it with [1, 3, 3, 1] on the way.
//  - Noise, bias, leaky ReLU, clamp, ToRGB and the sum of the images are done on a tile while it is in the cache.
//
// Each sum runs over the input channels in order, whatever the number of threads, so results do not depend on it.

#pragma once

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "synthesis.h"

namespace {

// ---------------------------------------------------------------------------------------------------------- vectors

constexpr int kLanes = VECTOR_FLOATS;
typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef float UnalignedVec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef float Pixel __attribute__((vector_size(4 * kImageLanes)));  // one pixel of an image
typedef float UnalignedPixel __attribute__((vector_size(4 * kImageLanes), aligned(4), may_alias));

#define INLINE inline __attribute__((always_inline))

INLINE Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
INLINE void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
INLINE Pixel load_pixel(const float* p) { return *reinterpret_cast<const UnalignedPixel*>(p); }
INLINE void store_pixel(float* p, Pixel v) { *reinterpret_cast<UnalignedPixel*>(p) = v; }

// The product of matrices goes block by block: kRows tiles by a panel of output channels, all sums in registers.
#if VECTOR_FLOATS == 16
constexpr int kPanelGroups = 2, kRows = 12;
#elif VECTOR_FLOATS == 8
constexpr int kPanelGroups = 1, kRows = 6;
#elif defined(__aarch64__)
constexpr int kPanelGroups = 1, kRows = 6;
#else
constexpr int kPanelGroups = 1, kRows = 2;
#endif
constexpr int kGroupVectors = kGroup / kLanes;
constexpr int kPanel = kPanelGroups * kGroup;

constexpr float kSlope = 0.2f;                  // of the leaky ReLU below 0
constexpr float kActivationGain = 1.41421356f;  // after it
constexpr float kDemodulationEpsilon = 1e-8f;

// ------------------------------------------------------------------------------------------------ Winograd transforms

constexpr double kA = 0.70710678118654752, kB = 1.41421356237309505;  // a*b = 1
constexpr double kPointsAt[kPatch - 1] = {0, kA, -kA, kB, -kB};       // and infinity

// u = G g of three taps, in double precision: g's polynomial at the points, over the Lagrange denominators.
void transform_kernel(const double* g, int stride, double* u) {
  for (int i = 0; i < kPatch - 1; ++i) {
    double denominator = 1;
    for (int j = 0; j < kPatch - 1; ++j)
      if (j != i) denominator *= kPointsAt[i] - kPointsAt[j];
    u[i] = (g[0] + kPointsAt[i] * (g[stride] + kPointsAt[i] * g[2 * stride])) / denominator;
  }
  u[kPatch - 1] = g[2 * stride];
}

// d <- B^T d of the six vectors d[0], d[stride], ...
INLINE void transform_input(Vec* d, int stride) {
  const float a = float(kA), b = float(kB);
  const Vec d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride], d4 = d[4 * stride], d5 = d[5 * stride];
  const Vec even_a = d4 - 2 * d2, odd_a = a * (d3 - 2 * d1);
  const Vec even_b = d4 - 0.5f * d2, odd_b = b * (d3 - 0.5f * d1);
  d[0] = (d0 + d4) - 2.5f * d2;
  d[stride] = even_a + odd_a;
  d[2 * stride] = even_a - odd_a;
  d[3 * stride] = even_b + odd_b;
  d[4 * stride] = even_b - odd_b;
  d[5 * stride] = (d1 + d5) - 2.5f * d3;
}

// y = A^T m: four results from six vectors m[0], m[stride], ...
INLINE void transform_output(const Vec* m, int stride, Vec* y, int y_stride) {
  const float a = float(kA), b = float(kB);
  const Vec even_a = m[stride] + m[2 * stride], odd_a = a * (m[stride] - m[2 * stride]);
  const Vec even_b = m[3 * stride] + m[4 * stride], odd_b = b * (m[3 * stride] - m[4 * stride]);
  y[0] = m[0] + even_a + even_b;
  y[y_stride] = odd_a + odd_b;
  y[2 * y_stride] = 0.5f * even_a + 2 * even_b;
  y[3 * y_stride] = 0.5f * odd_a + 2 * odd_b + m[5 * stride];
}

// Six pixels of the upsampled map, 4t - 1 ... 4t + 4, from four of the small one, 2t - 1 ... 2t + 2. The filter's taps
// are [1, 3, 3, 1] / 4 here; the 4 is left to prepare_weight.
INLINE void upsample(const Vec* x, int stride, Vec* z) {
  for (int i = 0; i < 3; ++i) {
    z[2 * i * stride] = 3 * x[i * stride] + x[(i + 1) * stride];
    z[(2 * i + 1) * stride] = x[i * stride] + 3 * x[(i + 1) * stride];
  }
}

// --------------------------------------------------------------------------------------------------- packed weights
// [panel][point][input channel][output channels of the panel], so that a product reads them from front to back.

int64_t weight_floats(int in_channels, int out_channels) {
  return int64_t(kPoints) * groups_of(in_channels) * kGroup * groups_of(out_channels) * kGroup;
}

int panels_of(int out_channels) { return (groups_of(out_channels) + kPanelGroups - 1) / kPanelGroups; }

int groups_in_panel(int out_channels, int panel) {
  return std::min(kPanelGroups, groups_of(out_channels) - panel * kPanelGroups);
}

int64_t panel_offset(int in_channels, int panel) {
  return int64_t(kPoints) * groups_of(in_channels) * kGroup * kPanel * panel;
}

void prepare_weight(const float* weight, int in_channels, int out_channels, int upsample, float* packed, int threads) {
  std::memset(packed, 0, sizeof(float) * weight_floats(in_channels, out_channels));
  const int64_t depth = groups_of(in_channels) * kGroup;
#pragma omp parallel for num_threads(threads)
  for (int o = 0; o < out_channels; ++o) {
    const int panel = o / kPanel, width = groups_in_panel(out_channels, panel) * kGroup;
    float* to = packed + panel_offset(in_channels, panel) + o % kPanel;
    for (int i = 0; i < in_channels; ++i) {
      const float* kernel = weight + (int64_t(o) * in_channels + i) * 9;
      double g[9], rows[kPatch * 3], u[kPatch];
      // A transposed convolution has its kernel the other way round; two dimensions of upsample() leave 1/4 each.
      for (int k = 0; k < 9; ++k) g[k] = upsample ? kernel[8 - k] / 16.0 : kernel[k];
      for (int x = 0; x < 3; ++x) {
        transform_kernel(g + x, 3, u);
        for (int y = 0; y < kPatch; ++y) rows[3 * y + x] = u[y];
      }
      for (int y = 0; y < kPatch; ++y) {
        transform_kernel(rows + 3 * y, 1, u);
        for (int x = 0; x < kPatch; ++x) to[((y * kPatch + x) * depth + i) * width] = float(u[x]);
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------------- matrix products

// c[row][panel] = sum over input channels of a[row][channel] * b[channel][panel], for ROWS tiles.
// a: [group][tile][16], groups a_stride apart; b: packed weights; c: like a, groups c_stride apart.
template <int ROWS, int VECTORS>
void multiply_block(const float* a, int64_t a_stride, int groups, const float* b, float* c, int64_t c_stride) {
  Vec sum[ROWS][VECTORS] = {};
  for (int g = 0; g < groups; ++g, a += a_stride) {
#pragma GCC unroll 4
    for (int k = 0; k < kGroup; ++k, b += VECTORS * kLanes) {
      Vec w[VECTORS];
#pragma GCC unroll 16
      for (int v = 0; v < VECTORS; ++v) w[v] = load(b + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < VECTORS; ++v) sum[r][v] += a[r * kGroup + k] * w[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; ++v)
      store(c + v / kGroupVectors * c_stride + r * kGroup + v % kGroupVectors * kLanes, sum[r][v]);
}

template <int VECTORS, int ROWS = kRows>
void multiply_rows(int rows, const float* a, int64_t a_stride, int groups, const float* b, float* c, int64_t c_stride) {
  if (rows == ROWS) {
    multiply_block<ROWS, VECTORS>(a, a_stride, groups, b, c, c_stride);
  } else if constexpr (ROWS > 1) {
    multiply_rows<VECTORS, ROWS - 1>(rows, a, a_stride, groups, b, c, c_stride);
  }
}

// The same for any number of tiles and a panel of one or more groups.
void multiply(int tiles, const float* a, int64_t a_stride, int groups, const float* b, float* c, int64_t c_stride,
              int panel_groups) {
  const int blocks = (tiles + kRows - 1) / kRows;
  for (int i = 0; i < blocks; ++i) {
    const int first = tiles * i / blocks, rows = tiles * (i + 1) / blocks - first;  // blocks of nearly equal height
    const int64_t offset = int64_t(first) * kGroup;
    if (panel_groups == kPanelGroups)
      multiply_rows<kPanelGroups * kGroupVectors>(rows, a + offset, a_stride, groups, b, c + offset, c_stride);
    else
      multiply_rows<kGroupVectors>(rows, a + offset, a_stride, groups, b, c + offset, c_stride);
  }
}

INLINE float dot(const float* x, const float* y, int n) {
  Vec sums = {};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) sums += load(x + i) * load(y + i);
  float sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += sums[lane];
  for (; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

// ------------------------------------------------------------------------------------------------ memory of one face

// How a layer is cut up. Where there are many tiles, each thread takes blocks of them through the whole layer, in its
// own cache. Where there are few (and usually many channels), all tiles are transformed first, and the threads share
// out the panels of output channels, so that each weight is read once.
struct Cut {
  int across;        // tiles in a row of the map
  int tiles;         // of the map
  int block;         // tiles that a thread works on at a time
  bool share_input;  // the second way
};

constexpr int kBlockTiles = 48;               // in a block at most ...
constexpr int kMinBlockTiles = 24;            // ... and at least, in between as many as keep
constexpr int64_t kBlockFloats = 128 * 1024;  // the transformed input within half a megabyte
constexpr int kSharedTiles = 1024;            // at most, as a shared input is transformed as a whole

Cut cut(const Layer& layer, int threads) {
  const int across = layer.resolution / kTile, tiles = across * across;
  const int64_t floats = int64_t(kPoints) * groups_of(layer.in_channels) * kGroup;
  const int block = int(std::clamp<int64_t>(kBlockFloats / floats / kRows * kRows, kMinBlockTiles, kBlockTiles));
  return {across, tiles, std::min(block, tiles), tiles <= std::min(threads * kBlockTiles, kSharedTiles)};
}

// What a layer's style makes of it.
struct Style {
  float* input;         // [in_channels]: factors
  float* squares;       // of them
  float* demodulation;  // [out_channels], times the gain of the activation
  float* bias;          // [out_channels], times the same
  float* rgb_weight;    // [out_channels][4]
};

int64_t style_floats(const Layer& layer) {
  return (2 * groups_of(layer.in_channels) + (2 + kImageLanes) * groups_of(layer.out_channels)) * kGroup;
}

Style style_at(float* memory, const Layer& layer) {
  const int64_t in = groups_of(layer.in_channels) * kGroup, out = groups_of(layer.out_channels) * kGroup;
  return {memory, memory + in, memory + 2 * in, memory + 2 * in + out, memory + 2 * in + 2 * out};
}

// Everything that is kept while a face is drawn, in one piece of memory that starts at `base`.
struct Workspace {
  float* zeros;         // a pixel outside of every map
  float* maps[2];       // feature maps: of up-convolutions, and of the others but the last
  float* images[2];     // [height][width][4], by turns
  float* styles;        // of all layers, one after another
  float* shared_input;  // transformed, [point][group][tile][16]
  float* scratch;       // of all threads: transformed input, transformed result, result of a block of tiles
  int64_t scratch_result, scratch_features, scratch_floats;  // offsets and size of a thread's
  int64_t floats;                                            // of it all

  Workspace(const Network& network, float* base) {
    int64_t map[2] = {}, picture[2] = {}, style = 0, shared = 0, input = 0, result = 0, features = 0;
    int turn = 0;
    for (int i = 0; i < network.num_layers; ++i) {
      const Layer& layer = network.layers[i];
      const Cut c = cut(layer, network.threads);
      const int64_t in = groups_of(layer.in_channels) * kGroup, out = groups_of(layer.out_channels) * kGroup;
      const int64_t pixels = int64_t(layer.resolution) * layer.resolution;
      const bool last = i + 1 == network.num_layers;
      grow(c.share_input ? shared : input, kPoints * in * (c.share_input ? c.tiles : c.block));
      grow(result, kPoints * int64_t(kPanel) * c.block);
      if (last && !c.share_input)
        grow(features, out * c.block * kTile * kTile);
      else
        grow(map[layer.upsample ? 0 : 1], out * pixels);
      if (layer.rgb_weight && !last) {
        grow(picture[turn], kImageLanes * pixels);
        turn = 1 - turn;
      }
      style += style_floats(layer);
    }
    floats = 0;
    auto take = [&](int64_t size) {
      float* start = base + floats;
      floats += (size + kGroup - 1) / kGroup * kGroup;
      return start;
    };
    zeros = take(kGroup);
    for (int k = 0; k < 2; ++k) maps[k] = take(map[k]);
    for (int k = 0; k < 2; ++k) images[k] = take(picture[k]);
    styles = take(style);
    shared_input = take(shared);
    scratch_result = input;
    scratch_features = input + result;
    scratch_floats = input + result + features;
    scratch = take(scratch_floats * network.threads);
  }

 private:
  static void grow(int64_t& size, int64_t needed) { size = std::max(size, needed); }
};

int64_t workspace_floats(const Network* network) { return Workspace(*network, nullptr).floats; }

// ------------------------------------------------------------------------------------------------------------- styles

// All layers' styles, demodulation coefficients and ToRGB weights, shared among the threads of a parallel region.
void prepare_styles(const Network& network, const float* ws, float* memory) {
  float* at = memory;
  for (int l = 0; l < network.num_layers; at += style_floats(network.layers[l]), ++l) {
    const Layer& layer = network.layers[l];
    const Style style = style_at(at, layer);
    const float *w = ws + int64_t(l) * network.w_dim, *rgb_w = w + network.w_dim;
#pragma omp for schedule(static) nowait
    for (int i = 0; i < groups_of(layer.in_channels) * kGroup; ++i) {
      const bool real = i < layer.in_channels;
      style.input[i] =
          real ? dot(layer.affine_weight + int64_t(i) * network.w_dim, w, network.w_dim) + layer.affine_bias[i] : 0;
      style.squares[i] = style.input[i] * style.input[i];
    }
#pragma omp for schedule(static) nowait
    for (int o = 0; o < groups_of(layer.out_channels) * kGroup; ++o) {
      const bool real = o < layer.out_channels;
      style.bias[o] = real ? layer.bias[o] * kActivationGain : 0;
      float rgb_style = 0;
      if (real && layer.rgb_weight)
        rgb_style = dot(layer.rgb_affine_weight + int64_t(o) * network.w_dim, rgb_w, network.w_dim) +
                    layer.rgb_affine_bias[o];
      for (int k = 0; k < kImageLanes; ++k)
        style.rgb_weight[o * kImageLanes + k] = real && layer.rgb_weight && k < network.image_channels
                                                    ? layer.rgb_weight[int64_t(k) * layer.out_channels + o] * rgb_style
                                                    : 0;
    }
  }
#pragma omp barrier
  at = memory;
  for (int l = 0; l < network.num_layers; at += style_floats(network.layers[l]), ++l) {
    const Layer& layer = network.layers[l];
    const Style style = style_at(at, layer);
#pragma omp for schedule(static) nowait
    for (int o = 0; o < groups_of(layer.out_channels) * kGroup; ++o) {
      float power = 0;
      if (o < layer.out_channels)
        power = dot(layer.power + int64_t(o) * layer.in_channels, style.squares, layer.in_channels);
      style.demodulation[o] = o < layer.out_channels ? kActivationGain / std::sqrt(power + kDemodulationEpsilon) : 0;
    }
  }
#pragma omp barrier
}

// ---------------------------------------------------------------------------------------------------- input transform

// One tile of one group of channels: x [size][size][16] -> `to`, whose 36 points are point_stride apart.
template <bool UPSAMPLE, bool INSIDE>
void transform_tile(const float* x, int size, int tile_y, int tile_x, const float* zeros, const float* style, float* to,
                    int64_t point_stride) {
  constexpr int kSide = UPSAMPLE ? kTile : kPatch;  // of the piece of x that the tile depends on
  const int y0 = (UPSAMPLE ? kTile / 2 : kTile) * tile_y - 1, x0 = (UPSAMPLE ? kTile / 2 : kTile) * tile_x - 1;
  auto pixel = [&](int i, int j) {
    const bool valid = INSIDE || (unsigned(y0 + i) < unsigned(size) && unsigned(x0 + j) < unsigned(size));
    return valid ? x + (int64_t(y0 + i) * size + x0 + j) * kGroup : zeros;
  };
#pragma GCC unroll 1
  for (int lane = 0; lane < kGroup; lane += kLanes) {
    const Vec scale = load(style + lane);
    Vec patch[kPatch * kPatch];  // columns done, rows to do: [6][kSide]
#pragma GCC unroll 6
    for (int j = 0; j < kSide; ++j) {
      Vec column[kPatch], d[kPatch];
#pragma GCC unroll 6
      for (int i = 0; i < kSide; ++i) column[i] = load(pixel(i, j) + lane) * scale;
      if constexpr (UPSAMPLE) {
        upsample(column, 1, d);
        transform_input(d, 1);
      } else {
        transform_input(column, 1);
      }
#pragma GCC unroll 6
      for (int i = 0; i < kPatch; ++i) patch[i * kPatch + j] = UPSAMPLE ? d[i] : column[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < kPatch; ++i) {
      Vec d[kPatch];
      Vec* row = patch + i * kPatch;
      if constexpr (UPSAMPLE) {
        upsample(row, 1, d);
        row = d;
      }
      transform_input(row, 1);
#pragma GCC unroll 6
      for (int j = 0; j < kPatch; ++j) store(to + (i * kPatch + j) * point_stride + lane, row[j]);
    }
  }
}

// `count` tiles from `first` on of group `g` -> [point][group][tile][16], of which `to` is this group's part.
void transform_tiles(const Layer& layer, const Cut& c, const float* x, const float* zeros, const float* style, int g,
                     int first, int count, float* to, int64_t point_stride) {
  const int size = layer.upsample ? layer.resolution / 2 : layer.resolution;
  const float* map = x + int64_t(g) * size * size * kGroup;
  for (int t = first; t < first + count; ++t, to += kGroup) {
    const int tile_y = t / c.across, tile_x = t % c.across;
    const bool inside = tile_y > 0 && tile_y + 1 < c.across && tile_x > 0 && tile_x + 1 < c.across;
    auto transform = layer.upsample ? inside ? transform_tile<true, true> : transform_tile<true, false>
                     : inside       ? transform_tile<false, true>
                                    : transform_tile<false, false>;
    transform(map, size, tile_y, tile_x, zeros, style + g * kGroup, to, point_stride);
  }
}

// --------------------------------------------------------------------------------------------------- output transform

// Where the result of a tile goes: into the map of the layer, or into memory of the thread, tile after tile.
struct Destination {
  float* start;
  int64_t group_stride, row_stride;
};

Destination in_map(float* map, const Layer& layer, const Cut& c, int tile) {
  const int64_t y = tile / c.across * kTile, x = tile % c.across * kTile, r = layer.resolution;
  return {map + (y * r + x) * kGroup, r * r * kGroup, r * kGroup};
}

Destination in_block(float* memory, const Cut& c, int tile_of_block) {
  return {memory + tile_of_block * kTile * kTile * kGroup, int64_t(c.block) * kTile * kTile * kGroup, kTile * kGroup};
}

// One tile of one group: 36 points of m -> 4x4 pixels; demodulation, noise, bias, leaky ReLU and clamp.
// noise: the tile's first value in its map, or null.
void finish_tile(const float* m, int64_t point_stride, const float* demodulation, const float* bias, const float* noise,
                 int noise_stride, float noise_strength, float clamp, float* out, int64_t row_stride) {
#pragma GCC unroll 1
  for (int lane = 0; lane < kGroup; lane += kLanes) {
    const Vec scale = load(demodulation + lane), offset = load(bias + lane);
    Vec half[kTile * kPatch];  // columns done: [4][6]
#pragma GCC unroll 6
    for (int j = 0; j < kPatch; ++j) {
      Vec column[kPatch];
#pragma GCC unroll 6
      for (int i = 0; i < kPatch; ++i) column[i] = load(m + (i * kPatch + j) * point_stride + lane);
      transform_output(column, 1, half + j, kPatch);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kTile; ++i) {
      Vec y[kTile];
      transform_output(half + i * kPatch, 1, y, 1);
#pragma GCC unroll 4
      for (int j = 0; j < kTile; ++j) {
        Vec v = y[j] * scale + offset;
        if (noise) v += noise[i * noise_stride + j] * noise_strength;
        v = v > kSlope * v ? v : kSlope * v;
        v = v > clamp ? clamp - Vec{} : v;
        v = v < -clamp ? -clamp - Vec{} : v;
        store(out + i * row_stride + j * kGroup + lane, v);
      }
    }
  }
}

// -------------------------------------------------------------------------------------------------------------- ToRGB

struct Picture {
  const float* weight;  // [channels of the map][4]: of this face
  Pixel bias;
  float clamp;
  int groups, resolution;
  const float* small;  // [resolution / 2][resolution / 2][4]: the picture so far, or null
  float* image;        // [resolution][resolution][4], or null in the last layer, where
  float* planar;       // [channels][resolution][resolution] is written
  int channels;
};

// image = clamp(w x + bias) + upsampled small image, for one tile.
void draw_tile(const Picture& p, int tile_y, int tile_x, const Destination& features) {
  Pixel sum[kTile][kTile] = {};
#pragma GCC unroll 1
  for (int half = 0; half < kTile; half += 2) {  // eight sums fit the registers of all
    Pixel part[2 * kTile] = {};
    for (int g = 0; g < p.groups; ++g) {
      const float* x = features.start + g * features.group_stride + half * features.row_stride;
#pragma GCC unroll 4
      for (int k = 0; k < kGroup; ++k) {
        const Pixel w = load_pixel(p.weight + (g * kGroup + k) * kImageLanes);
#pragma GCC unroll 8
        for (int i = 0; i < 2 * kTile; ++i) part[i] += x[i / kTile * features.row_stride + i % kTile * kGroup + k] * w;
      }
    }
    for (int i = 0; i < 2 * kTile; ++i) {
      Pixel v = part[i] + p.bias;
      v = v > p.clamp ? p.clamp - Pixel{} : v;
      sum[half + i / kTile][i % kTile] = v < -p.clamp ? -p.clamp - Pixel{} : v;
    }
  }
  if (p.small) {
    const int size = p.resolution / 2, y0 = kTile / 2 * tile_y - 1, x0 = kTile / 2 * tile_x - 1;
    Pixel rows[kTile][kTile];  // upsampled along y
    for (int j = 0; j < kTile; ++j) {
      Pixel x[kTile];
      for (int i = 0; i < kTile; ++i) {
        const bool valid = unsigned(y0 + i) < unsigned(size) && unsigned(x0 + j) < unsigned(size);
        x[i] = valid ? load_pixel(p.small + (int64_t(y0 + i) * size + x0 + j) * kImageLanes) : Pixel{};
      }
      rows[0][j] = x[0] + 3 * x[1];
      rows[1][j] = 3 * x[1] + x[2];
      rows[2][j] = x[1] + 3 * x[2];
      rows[3][j] = 3 * x[2] + x[3];
    }
    for (int i = 0; i < kTile; ++i) {
      const Pixel* x = rows[i];
      sum[i][0] += (x[0] + 3 * x[1]) * 0.0625f;
      sum[i][1] += (3 * x[1] + x[2]) * 0.0625f;
      sum[i][2] += (x[1] + 3 * x[2]) * 0.0625f;
      sum[i][3] += (3 * x[2] + x[3]) * 0.0625f;
    }
  }
  for (int i = 0; i < kTile; ++i) {
    const int64_t pixel = int64_t(kTile * tile_y + i) * p.resolution + kTile * tile_x;
    if (p.planar) {
      for (int k = 0; k < p.channels; ++k)
        store_pixel(p.planar + k * int64_t(p.resolution) * p.resolution + pixel,
                    Pixel{sum[i][0][k], sum[i][1][k], sum[i][2][k], sum[i][3][k]});
    } else {
      for (int j = 0; j < kTile; ++j) store_pixel(p.image + (pixel + j) * kImageLanes, sum[i][j]);
    }
  }
}

// ------------------------------------------------------------------------------------------------------------- layers

// The panel's output channels for `count` tiles: 36 products, and the output transform of each tile.
// input: the first tile's part of [point][group][tile][16], where groups are group_stride apart, points point_stride.
template <typename ToDestination>
void convolve_panel(const Layer& layer, const Cut& c, const Style& style, int panel, int first, int count,
                    const float* input, int64_t group_stride, int64_t point_stride, float* result,
                    const ToDestination& destination) {
  const int groups = groups_in_panel(layer.out_channels, panel), in_groups = groups_of(layer.in_channels);
  const int64_t result_group = int64_t(count) * kGroup, result_point = result_group * groups;
  const int64_t weights = int64_t(in_groups) * kGroup * groups * kGroup;  // of a point
  const float* weight = layer.weight + panel_offset(layer.in_channels, panel);
  for (int point = 0; point < kPoints; ++point)
    multiply(count, input + point * point_stride, group_stride, in_groups, weight + point * weights,
             result + point * result_point, result_group, groups);

  const float strength = layer.noise_strength * kActivationGain;
  for (int k = 0; k < groups; ++k) {
    const int group = panel * kPanelGroups + k;
    for (int t = 0; t < count; ++t) {
      const int tile_y = (first + t) / c.across, tile_x = (first + t) % c.across;
      const float* noise =
          layer.noise ? layer.noise + (int64_t(tile_y) * layer.resolution + tile_x) * kTile : nullptr;
      const Destination to = destination(first + t);
      finish_tile(result + k * result_group + t * kGroup, result_point, style.demodulation + group * kGroup,
                  style.bias + group * kGroup, noise, layer.resolution, strength, layer.clamp,
                  to.start + group * to.group_stride, to.row_stride);
    }
  }
}

// x -> the layer's map and picture, by all threads of a parallel region. map: null where only the picture is wanted.
void convolve(const Layer& layer, int threads, const Workspace& work, const Style& style, const float* x, float* map,
              const Picture* picture) {
  const Cut c = cut(layer, threads);
  const int in_groups = groups_of(layer.in_channels), panels = panels_of(layer.out_channels);
  const int blocks = (c.tiles + c.block - 1) / c.block;
  float* scratch = work.scratch + omp_get_thread_num() * work.scratch_floats;
  float* result = scratch + work.scratch_result;

  if (c.share_input) {
    const int64_t group_stride = int64_t(c.tiles) * kGroup, point_stride = group_stride * in_groups;
#pragma omp for schedule(static) collapse(2)
    for (int g = 0; g < in_groups; ++g)
      for (int y = 0; y < c.across; ++y)
        transform_tiles(layer, c, x, work.zeros, style.input, g, y * c.across, c.across,
                        work.shared_input + g * group_stride + int64_t(y) * c.across * kGroup, point_stride);
#pragma omp for schedule(dynamic) collapse(2)
    for (int panel = 0; panel < panels; ++panel)
      for (int b = 0; b < blocks; ++b) {
        const int first = b * c.block, count = std::min(c.block, c.tiles - first);
        convolve_panel(layer, c, style, panel, first, count, work.shared_input + int64_t(first) * kGroup, group_stride,
                       point_stride, result, [&](int tile) { return in_map(map, layer, c, tile); });
      }
    if (picture) {
#pragma omp for schedule(static)
      for (int t = 0; t < c.tiles; ++t) draw_tile(*picture, t / c.across, t % c.across, in_map(map, layer, c, t));
    }
    return;
  }

#pragma omp for schedule(dynamic)
  for (int b = 0; b < blocks; ++b) {
    const int first = b * c.block, count = std::min(c.block, c.tiles - first);
    const int64_t group_stride = int64_t(count) * kGroup, point_stride = group_stride * in_groups;
    auto destination = [&](int tile) {
      return map ? in_map(map, layer, c, tile) : in_block(scratch + work.scratch_features, c, tile - first);
    };
    for (int g = 0; g < in_groups; ++g)
      transform_tiles(layer, c, x, work.zeros, style.input, g, first, count, scratch + g * group_stride, point_stride);
    for (int panel = 0; panel < panels; ++panel)
      convolve_panel(layer, c, style, panel, first, count, scratch, group_stride, point_stride, result, destination);
    if (picture)
      for (int t = first; t < first + count; ++t) draw_tile(*picture, t / c.across, t % c.across, destination(t));
  }
}

void draw(const Network* network, const float* ws, float* workspace, float* image) {
  const Workspace work(*network, workspace);
  std::memset(work.zeros, 0, kGroup * sizeof(float));
#pragma omp parallel num_threads(network->threads)
  {
    prepare_styles(*network, ws, work.styles);
    const float *x = network->input, *small = nullptr;
    float* styles = work.styles;
    int turn = 0;
    for (int l = 0; l < network->num_layers; ++l) {
      const Layer& layer = network->layers[l];
      const Style style = style_at(styles, layer);
      const bool last = l + 1 == network->num_layers;
      float* map = last && !cut(layer, network->threads).share_input ? nullptr : work.maps[layer.upsample ? 0 : 1];
      if (layer.rgb_weight) {
        Picture picture = {};
        picture.weight = style.rgb_weight;
        for (int k = 0; k < network->image_channels; ++k) picture.bias[k] = layer.rgb_bias[k];
        picture.clamp = layer.clamp;
        picture.groups = groups_of(layer.out_channels);
        picture.resolution = layer.resolution;
        picture.small = small;
        (last ? picture.planar : picture.image) = last ? image : work.images[turn];
        picture.channels = network->image_channels;
        convolve(layer, network->threads, work, style, x, map, &picture);
        small = picture.image;
        turn = 1 - turn;
      } else {
        convolve(layer, network->threads, work, style, x, map, nullptr);
      }
      x = map;
      styles += style_floats(layer);
    }
  }
}

}  // namespace

extern const Kernels KERNELS = {weight_floats, prepare_weight, workspace_floats, draw};
