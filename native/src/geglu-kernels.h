#pragma once
// GEGLU's kernels in all instruction sets that this architecture may have.

#include <cstdint>

#include "instruction-sets.h"

namespace {

/** Rows whose first `width` numbers are multiplied by GELU of the next `width`. */
struct GegluRows {
  const float* x;         // [rows, 2·width]
  const float* gradient;  // of the result [rows, width], for backward
  float* result;          // [rows, width], or the gradient of x
  int64_t rows, width;
};

struct GegluKernels {
  void (*forward)(const GegluRows&);
  void (*backward)(const GegluRows&);
};

/** Numbers of the narrowest vector, which is the least width. */
constexpr int64_t kLeastGegluWidth = 4;

}  // namespace

#define SPO_KERNELS "geglu-rows.h"
#include "each-instruction-set.h"

namespace {

/** kernels: not libtorch's. width: kLeastGegluWidth or more. */
const GegluKernels& geglu_kernels(Kernels kernels, int64_t width) {
#ifdef __x86_64__
  if (kernels == Kernels::avx512) return avx512::geglu_kernels(width);
  if (kernels == Kernels::avx2) return avx2::geglu_kernels(width);
#endif
  return portable::geglu_kernels(width);
}

}  // namespace
