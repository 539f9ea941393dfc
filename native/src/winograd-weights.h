#pragma once
// The weights of Winograd's convolution, transformed: kept where they are small and do not change.

#include <map>
#include <mutex>
#include <tuple>

#include "parallel.h"
#include "shared-memory.h"
#include "winograd-kernels.h"

namespace {

/** Whether a kernel [results, channels, 3, 3] is small enough for its transformed weights to be kept. */
bool is_small_kernel(int64_t channels, int64_t results) { return channels * results <= 1 << 16; }

/** Transformed weights by what they were made of. Kept from the second time on: weights that are made for one call do not come again. */
class TransformedWeights {
 public:
  /** weights: those of the tensor `weight`, read in some order → [blocks, places, channels, lanes]. */
  static at::Tensor of(const at::Tensor& weight, const WinogradWeights& weights, const WinogradKernels& kernels) {
    if (!stays_the_same(weight) || !is_small_kernel(weights.channels, weights.results)) return transform(weight, weights, kernels);
    const Key key{weight.unsafeGetTensorImpl(), &kernels,           weights.at,     weights.results,  weights.channels,
                  weights.of_result,            weights.of_channel, weights.of_row, weights.of_column};
    const uint32_t version = weight._version();
    const std::lock_guard lock(mutex);
    const auto found = seen.find(key);
    if (found == seen.end() || found->second.version != version || found->second.weight.expired()) {
      if (found != seen.end()) forget(found);
      if (seen.size() >= kMostSeen) forget_expired();
      if (seen.size() < kMostSeen) {
        seen.emplace(key, Seen{c10::weak_intrusive_ptr<c10::TensorImpl>(weight.getIntrusivePtr()), version, at::Tensor()});
      }
      return transform(weight, weights, kernels);
    }
    if (found->second.transformed.defined()) return found->second.transformed;
    at::Tensor transformed = transform(weight, weights, kernels);
    if (bytes + transformed.nbytes() > kMostBytes) forget_expired();
    if (bytes + transformed.nbytes() <= kMostBytes) {
      bytes += transformed.nbytes();
      found->second.transformed = transformed;
    }
    return transformed;
  }

  /** Gives back what is kept. */
  static void trim() {
    const std::lock_guard lock(mutex);
    seen.clear();
    bytes = 0;
  }

 private:
  using Key = std::tuple<const void*, const void*, const float*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>;
  struct Seen {
    c10::weak_intrusive_ptr<c10::TensorImpl> weight;
    uint32_t version;
    at::Tensor transformed;  // from the second time on
  };
  using All = std::map<Key, Seen>;

  static constexpr size_t kMostBytes = 64 << 20;  // as MOST in kept-kernels.ts
  static constexpr size_t kMostSeen = 4096;

  /** Whether all that write to the weight tell, by its version. A file and an array of JavaScript do not. A weight that learns changes. */
  static bool stays_the_same(const at::Tensor& weight) {
    return !weight.requires_grad() && !weight.is_inference() && weight.storage().resizable() && !BorrowedArray::under(weight);
  }

  static at::Tensor transform(const at::Tensor& weight, const WinogradWeights& weights, const WinogradKernels& kernels) {
    const int64_t block = kernels.places * weights.channels * kernels.lanes, blocks = (weights.results + kernels.lanes - 1) / kernels.lanes;
    at::Tensor transformed = at::empty({blocks * block}, weight.options());
    auto* to = transformed.mutable_data_ptr<float>();
    each_in_parallel(blocks, [&](int64_t i) { kernels.weights_of_block(weights, i * kernels.lanes, to + i * block); });
    return transformed;
  }

  static void forget(All::iterator entry) {
    if (entry->second.transformed.defined()) bytes -= entry->second.transformed.nbytes();
    seen.erase(entry);
  }

  static void forget_expired() {
    for (auto entry = seen.begin(); entry != seen.end();) {
      const auto next = std::next(entry);
      if (entry->second.weight.expired()) forget(entry);
      entry = next;
    }
  }

  inline static std::mutex mutex;
  // Never destroyed: libtorch's own statics may be gone by then.
  inline static All& seen = *new All();
  inline static size_t bytes = 0;
};

}  // namespace
