#pragma once
// The gradient of a kernel 3×3 by Winograd's algorithm, in all instruction sets that this architecture may have.

#include "winograd-kernels.h"

namespace {

/** x [samples, height, width, channels], the gradient of y [samples, height, width, results] → the kernel's [results, 3, 3, channels]. */
struct WinogradGradient {
  const float* x;
  int64_t samples, height, width, channels, results;  // channels: a multiple of the lanes
  const float* of_y;
  float* of_kernel;
};

struct WinogradGradientKernels {
  int64_t results;  // at a time, at most
  /** Numbers that `gradient` needs as its memory, from a multiple of 64 bytes on. */
  int64_t (*memory)(int64_t channels);
  /** Of `count` results from `first` on, a multiple of the lanes. */
  void (*gradient)(const WinogradGradient&, int64_t first, int64_t count, float* memory);
};

}  // namespace

#define SPO_KERNELS "winograd-gradient-tiles.h"
#include "each-instruction-set.h"

namespace {

/** kernels: not libtorch's. kSide: 4, or 6 of larger tiles. */
template <int kSide>
const WinogradGradientKernels& winograd_gradient_kernels(Kernels kernels) {
#ifdef __x86_64__
  if (kernels == Kernels::avx512) return avx512::winograd_gradient_kernels<kSide>;
  if (kernels == Kernels::avx2) return avx2::winograd_gradient_kernels<kSide>;
#endif
  return portable::winograd_gradient_kernels<kSide>;
}

}  // namespace
