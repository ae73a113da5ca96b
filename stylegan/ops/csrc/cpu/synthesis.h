// StyleGAN2 synthesis of one face on a CPU: what Python and the kernels tell each other.
//
// Python (stylegan/synthesis/cpu.py) owns all memory and fills in one `Layer` for each modulated 3x3 convolution. The
// kernels are compiled once for each instruction set (kernels_*.cpp) and chosen at run time (dispatch.cpp).
//
// Feature maps lie in groups of 16 channels, [channels / 16][height][width][16], the last group filled up with zeros:
// 16 floats are one cache line, and one or more whole vectors of every instruction set.

#pragma once

#include <cstdint>

constexpr int kGroup = 16;       // channels in a group
constexpr int kImageLanes = 4;   // image channels, filled up
constexpr int kTile = 4;         // a Winograd tile is 4x4 pixels of the result ...
constexpr int kPatch = 6;        // ... and depends on 6x6 pixels of the input of a 3x3 convolution
constexpr int kPoints = kPatch * kPatch;

constexpr int groups_of(int channels) { return (channels + kGroup - 1) / kGroup; }

// Modulated convolution, noise, bias, leaky ReLU (and, where there is one, the ToRGB that follows), all of one face.
struct Layer {
  int32_t in_channels, out_channels;
  int32_t resolution;  // of the result: a multiple of 4
  int32_t upsample;    // 1: twice the resolution of the input, filtered with [1, 3, 3, 1]

  const float* affine_weight;  // [in_channels, w_dim]: w -> style, equalised learning rate applied
  const float* affine_bias;    // [in_channels]
  const float* power;          // [out_channels, in_channels]: sum of squares of each 3x3 kernel, for the demodulation
  const float* weight;         // packed by prepare_weight
  const float* bias;           // [out_channels]
  const float* noise;          // [resolution, resolution], or null
  float noise_strength;
  float clamp;  // results are limited to +-clamp; infinity where they are not

  // ToRGB: all null where there is none.
  const float* rgb_affine_weight;  // [out_channels, w_dim], multiplied by ToRGB's gain too
  const float* rgb_affine_bias;    // [out_channels], the same
  const float* rgb_weight;         // [image_channels, out_channels]
  const float* rgb_bias;           // [image_channels]
};

struct Network {
  const Layer* layers;  // layer i is styled by ws[i], its ToRGB by ws[i + 1]
  int32_t num_layers;
  int32_t w_dim;
  int32_t image_channels;  // at most kImageLanes
  int32_t threads;
  const float* input;  // [groups][4][4][16]: the learned constant
};

// What one instruction set offers; see dispatch.cpp.
struct Kernels {
  int64_t (*weight_floats)(int in_channels, int out_channels);
  void (*prepare_weight)(const float* weight, int in_channels, int out_channels, int upsample, float* packed,
                         int threads);
  int64_t (*workspace_floats)(const Network* network);
  void (*draw)(const Network* network, const float* ws, float* workspace, float* image);
};

extern const Kernels kernels_portable, kernels_avx2, kernels_avx512;
