#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <c10/core/CPUAllocator.h>

#include "small-blocks.h"

#ifdef __GLIBC__  // mremap is Linux's, and only glibc's malloc needs this beside it

/**
 * Memory of the CPU's large tensors. Each has a mapping of its own. A freed mapping is kept for the next tensor, because the system clears
 * every new page. Small tensors have blocks of another kind.
 *
 * What is kept does not raise the peak: together with what is in use it stays within the most that was ever in use, or within 128 MiB,
 * which is what small models need to stop asking the system.
 */
class LargeBlocks final : public c10::Allocator {
 public:
  /** Becomes the allocator of the whole process. */
  static void install() {
    static std::once_flag once;
    // Never destroyed, since tensors of other statics die late.
    std::call_once(once, [] { c10::SetCPUAllocator(instance = new LargeBlocks(), 1); });
  }

  /** Gives back to the system what is kept, and forgets the most that was in use. */
  static void trim() {
    const std::lock_guard lock(instance->mutex_);
    instance->keep_at_most(0);
    instance->most_ = instance->used_;
    SmallBlocks::all().trim();
  }

  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes < kFrom ? nullptr : take(bytes);
    if (!data) return small_->allocate(bytes);  // which has the words for a lack of memory
    return {data, data, &free, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

 private:
  struct Block {
    void* data;
    size_t size;
  };

  static constexpr size_t kFrom = 1 << 20;      // as LARGE_FROM in simulated-heap.ts
  static constexpr size_t kAlways = 128 << 20;  // as ALWAYS there

  static void free(void* data) {
    if (!instance->keep(data)) instance->small_->raw_deleter()(data);
  }

  /** → null where the system has none. */
  void* take(size_t bytes) {
    static const size_t page = sysconf(_SC_PAGESIZE);
    const size_t size = (bytes + page - 1) / page * page;
    if (size < bytes) return nullptr;
    const std::lock_guard lock(mutex_);
    void* data = reuse(size);
    if (!data) data = map(size);
    if (!data) {
      keep_at_most(0);
      data = map(size);
    }
    if (!data) return nullptr;
    try {
      // Room for each block in use among the kept ones: a tensor's end must not ask for memory.
      if (kept_.capacity() <= kept_.size() + sizes_.size()) kept_.reserve(2 * (kept_.size() + sizes_.size() + 1));
      sizes_.emplace(data, size);
    } catch (const std::bad_alloc&) {
      munmap(data, size);
      return nullptr;
    }
    used_ += size;
    most_ = std::max(most_, used_);
    keep_at_most(std::max(most_, kAlways) - used_);
    return data;
  }

  /**
   * A kept block of this size; else the next larger one, whose rest stays kept; else the next smaller one, which grows. Among equals
   * the newest.
   */
  void* reuse(size_t size) {
    const auto best = std::min_element(kept_.rbegin(), kept_.rend(), [size](const Block& a, const Block& b) {
      if ((a.size >= size) != (b.size >= size)) return a.size >= size;
      return a.size >= size ? a.size < b.size : a.size > b.size;
    });
    if (best == kept_.rend()) return nullptr;
    void* data = best->data;
    const size_t had = std::min(size, best->size);
    if (had < size) {
      data = mremap(data, had, size, MREMAP_MAYMOVE);  // its pages stay as they are
      if (data == MAP_FAILED) return nullptr;
    }
    if (best->size > size) *best = {static_cast<char*>(data) + size, best->size - size};
    else kept_.erase(std::next(best).base());
    kept_bytes_ -= had;
    return data;
  }

  static void* map(size_t size) {
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return data == MAP_FAILED ? nullptr : data;
  }

  /** → false where the block is none of these. */
  bool keep(void* data) {
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(data);
    if (found == sizes_.end()) return false;
    kept_.push_back({data, found->second});
    kept_bytes_ += found->second;
    used_ -= found->second;
    sizes_.erase(found);
    return true;
  }

  /** Gives back to the system what has waited longest. */
  void keep_at_most(size_t bytes) {
    auto end = kept_.begin();
    for (; kept_bytes_ > bytes; ++end) {
      munmap(end->data, end->size);
      kept_bytes_ -= end->size;
    }
    kept_.erase(kept_.begin(), end);
  }

  static inline LargeBlocks* instance = nullptr;
  c10::Allocator* const small_ = &SmallBlocks::all();
  std::mutex mutex_;
  std::unordered_map<void*, size_t> sizes_;  // of the blocks in use
  std::vector<Block> kept_;                  // in the order in which they were freed
  size_t used_ = 0, kept_bytes_ = 0, most_ = 0;
};

#endif  // __GLIBC__
