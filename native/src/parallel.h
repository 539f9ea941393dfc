#pragma once
// Work on libtorch's own threads.

#include <memory>

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>

namespace {

/**
 * run(i) for i in [0, count), on as many threads as libtorch has for an operator.
 *
 * `at::parallel_for` is a template that only works where the caller is compiled for OpenMP, and linked to the very library that libtorch
 * brings. An iterator over `count` bytes reaches the one inside libtorch.
 */
template <class Run>
void each_in_parallel(int64_t count, const Run& run) {
  if (count == 1 || at::get_num_threads() == 1) {
    for (int64_t i = 0; i < count; i++) run(i);
    return;
  }
  at::Tensor places = at::empty({count}, at::kByte);
  auto iterator = at::TensorIterator::nullary_op(places);
  const auto* first = static_cast<const char*>(places.data_ptr());
  iterator.for_each(
      [&](char** data, const int64_t*, int64_t n) {
        const int64_t from = data[0] - first;
        for (int64_t i = from; i < from + n; i++) run(i);
      },
      1);
}

/** run(i, memory), each with so many numbers from a multiple of 64 bytes on. */
template <class Run>
void each_in_parallel(int64_t count, int64_t numbers, const Run& run) {
  each_in_parallel(count, [&](int64_t i) {
    constexpr int64_t kAligned = 64 / sizeof(float);
    const std::unique_ptr<float[]> memory(new float[numbers + kAligned]);
    const auto address = reinterpret_cast<uintptr_t>(memory.get());
    run(i, memory.get() + (-address % 64) / sizeof(float));
  });
}

}  // namespace
