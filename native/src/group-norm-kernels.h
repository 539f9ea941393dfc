#pragma once
// GroupNorm's kernels in all instruction sets that this architecture may have.

#include <cstdint>

#include "instruction-sets.h"

namespace {

/** Some pixels of one image, channels last. Number: float or bfloat16, computed as float. */
template <class Number>
struct GroupNormPixels {
  const Number* x;
  const Number* gradient;  // of the result; null in forward
  Number* result;          // y, or the gradient of x
  int64_t channels;
  int64_t rows;  // pixels
};

/** Numbers of each channel, for one image: z = (x − mean)·scale + bias. */
struct GroupNormChannels {
  const float* mean;
  const float* scale;  // weight / √(variance + eps)
  const float* bias;
  // x's gradient is scale times z's, less slope·(x − mean) + constant. Null in forward.
  const float* slope;
  const float* constant;
};

template <class Number>
struct GroupNormKernels {
  /** Sums a channel of x less `mean`, which may be any number near x here, and of its square. */
  void (*moments)(const GroupNormPixels<Number>&, const GroupNormChannels&, double*, double*);
  void (*normalise)(const GroupNormPixels<Number>&, const GroupNormChannels&);
  /** Sums a channel of z's gradient, and of its product with x − mean. */
  void (*gradient_sums)(const GroupNormPixels<Number>&, const GroupNormChannels&, double*, double*);
  void (*differentiate)(const GroupNormPixels<Number>&, const GroupNormChannels&);
};

/** Channels of the narrowest vector. */
constexpr int64_t kLeastChannels = 4;
/** Pixels whose sum is taken in float32. More at a time, and wide maps no longer come from memory in order. */
constexpr int64_t kBlockRows = 16;

}  // namespace

#define SPO_KERNELS "group-norm-rows.h"
#include "each-instruction-set.h"

namespace {

/** kernels: not libtorch's. channels: at least `kLeastChannels`. */
template <bool kSilu, class Number>
const GroupNormKernels<Number>& group_norm_kernels(Kernels kernels, int64_t channels) {
#ifdef __x86_64__
  if (kernels == Kernels::avx512) return avx512::group_norm_kernels<kSilu, Number>(channels);
  if (kernels == Kernels::avx2) return avx2::group_norm_kernels<kSilu, Number>(channels);
#endif
  return portable::group_norm_kernels<kSilu, Number>(channels);
}

}  // namespace
