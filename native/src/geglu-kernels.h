#pragma once
// GEGLU's kernels in all instruction sets that this architecture may have.

#include <cstdint>

#include "instruction-sets.h"

namespace {

/** Rows whose first `width` numbers are multiplied by GELU of the next `width`. Number: float or bfloat16, computed as float. */
template <class Number>
struct GegluRows {
  const Number* x;         // [rows, 2·width]
  const Number* gradient;  // of the result [rows, width], for backward
  Number* result;          // [rows, width], or the gradient of x
  int64_t rows, width;
};

template <class Number>
struct GegluKernels {
  void (*forward)(const GegluRows<Number>&);
  void (*backward)(const GegluRows<Number>&);
};

/** Numbers of the narrowest vector, which is the least width. */
constexpr int64_t kLeastGegluWidth = 4;

}  // namespace

#define SPO_KERNELS "geglu-rows.h"
#include "each-instruction-set.h"

namespace {

/** kernels: not libtorch's. width: kLeastGegluWidth or more. */
template <class Number>
const GegluKernels<Number>& geglu_kernels(Kernels kernels, int64_t width) {
#ifdef __x86_64__
  if (kernels == Kernels::avx512) return avx512::geglu_kernels<Number>(width);
  if (kernels == Kernels::avx2) return avx2::geglu_kernels<Number>(width);
#endif
  return portable::geglu_kernels<Number>(width);
}

}  // namespace
