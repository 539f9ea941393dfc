#pragma once
// Attention's kernels in all instruction sets that this architecture may have.

#include <cstdint>

#include "instruction-sets.h"

namespace {

/** Rows of neighbouring numbers, `stride` numbers apart. Of what a kernel does not name as its result it writes nothing. */
struct AttentionRows {
  float* at;
  int64_t stride;

  AttentionRows from(int64_t row) const { return {at + row * stride, stride}; }
};

/** One head of one sample. Sizes: of queries [queries, dims], of keys and values [keys, dims]. */
struct AttentionHead {
  int64_t queries, keys, dims;
  float scale;
  AttentionRows query, key, value;
  // Results of forward, which backward reads. log_sum [queries, 1]: of the exponentials of a query's scores.
  AttentionRows out, log_sum;
  // For backward: of out, and its results.
  AttentionRows gradient, query_gradient, key_gradient, value_gradient;
};

struct AttentionKernels {
  /** Numbers that a call needs as its memory, from a multiple of 64 bytes on. */
  int64_t (*memory)(const AttentionHead&, bool backward);
  void (*attend)(const AttentionHead&, float* memory);
  void (*attend_backward)(const AttentionHead&, float* memory);
};

}  // namespace

#define SPO_KERNELS "attention-heads.h"
#include "each-instruction-set.h"

namespace {

/** kernels: not libtorch's. */
const AttentionKernels& attention_kernels(Kernels kernels) {
#ifdef __x86_64__
  if (kernels == Kernels::avx512) return avx512::attention_kernels;
  if (kernels == Kernels::avx2) return avx2::attention_kernels;
#endif
  return portable::attention_kernels;
}

}  // namespace
