// The functions that Python calls: those of the best instruction set of this processor, or of one that it names.

#include <cstring>

#include "synthesis.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

const Kernels* chosen(const char* name) {
#ifdef __x86_64__
  const bool any = std::strcmp(name, "auto") == 0;
  if ((any || std::strcmp(name, "avx512") == 0) && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
    return &kernels_avx512;
  if ((any || std::strcmp(name, "avx2") == 0) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return &kernels_avx2;
  return any || std::strcmp(name, "portable") == 0 ? &kernels_portable : nullptr;
#else
  return std::strcmp(name, "auto") == 0 || std::strcmp(name, "portable") == 0 ? &kernels_portable : nullptr;
#endif
}

}  // namespace

// name: "auto", "avx512", "avx2" or "portable". Null where this processor lacks it.
EXPORT const Kernels* fergan_kernels(const char* name) { return chosen(name); }

EXPORT const char* fergan_kernels_name(const Kernels* kernels) {
#ifdef __x86_64__
  if (kernels == &kernels_avx512) return "avx512";
  if (kernels == &kernels_avx2) return "avx2";
#endif
  return kernels == &kernels_portable ? "portable" : "";
}

// Floats that prepare_weight writes for one layer.
EXPORT int64_t fergan_weight_floats(const Kernels* kernels, int in_channels, int out_channels) {
  return kernels->weight_floats(in_channels, out_channels);
}

// weight: [out_channels, in_channels, 3, 3] -> packed, which is aligned to 64 bytes.
EXPORT void fergan_prepare_weight(const Kernels* kernels, const float* weight, int in_channels, int out_channels,
                                  int upsample, float* packed, int threads) {
  kernels->prepare_weight(weight, in_channels, out_channels, upsample, packed, threads);
}

// Floats of memory that fergan_draw works in.
EXPORT int64_t fergan_workspace_floats(const Kernels* kernels, const Network* network) {
  return kernels->workspace_floats(network);
}

// ws: [num_layers + 1, w_dim] -> image: [image_channels, resolution, resolution]. workspace: aligned to 64 bytes.
EXPORT void fergan_draw(const Kernels* kernels, const Network* network, const float* ws, float* workspace,
                        float* image) {
  kernels->draw(network, ws, workspace, image);
}
