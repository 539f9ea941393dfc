#pragma once
#include <malloc.h>

#include <array>
#include <atomic>
#include <mutex>
#include <new>

#include <c10/core/CPUAllocator.h>

#ifdef __GLIBC__

/**
 * Memory of the CPU's small tensors. A freed block is kept for the next tensor of the same size: glibc finds aligned memory slowly, cuts
 * it off a larger piece each time and joins the two again. A step asks for the same sizes as the one before.
 */
class SmallBlocks final : public c10::Allocator {
 public:
  /** Most bytes of a block, in steps of an alignment; and most bytes that are kept. */
  static constexpr size_t kStep = 64, kMost = 256 << 10, kKept = 16 << 20;

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0 || bytes > kMost) return plain_->allocate(bytes);
    const size_t steps = (bytes + kStep - 1) / kStep;
    void* data = take(steps);
    if (!data) data = plain_->allocate(steps * kStep).release_context();
    return {data, data, &free, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  /** Gives back what is kept. */
  void trim() {
    const std::lock_guard lock(mutex_);
    for (Free*& first : free_) {
      while (first) {
        Free* block = first;
        first = block->next;
        plain_->raw_deleter()(block);
      }
    }
    kept_ = 0;
  }

  static SmallBlocks& all() {
    // Never destroyed, since tensors of other statics die late.
    static auto* blocks = new SmallBlocks();
    return *blocks;
  }

 private:
  /** What stands in a block while it is free. */
  struct Free {
    Free* next;
  };

  static void free(void* data) {
    if (!all().keep(data)) all().plain_->raw_deleter()(data);
  }

  void* take(size_t steps) {
    const std::lock_guard lock(mutex_);
    Free* block = free_[steps];
    if (!block) return nullptr;
    free_[steps] = block->next;
    kept_ -= steps * kStep;
    return block;
  }

  /** → false where the block is not to be kept. Its size is glibc's, which is less than a step above what was asked for. */
  bool keep(void* data) {
    const size_t steps = data ? malloc_usable_size(data) / kStep : 0;
    if (steps == 0 || steps > kMost / kStep) return false;
    if (kept_ + steps * kStep > kKept) trim();  // sizes that are no longer asked for go too
    const std::lock_guard lock(mutex_);
    free_[steps] = new (data) Free{free_[steps]};
    kept_ += steps * kStep;
    return true;
  }

  c10::Allocator* const plain_ = c10::GetDefaultCPUAllocator();
  std::mutex mutex_;
  std::array<Free*, kMost / kStep + 1> free_{};
  std::atomic<size_t> kept_ = 0;
};

#endif  // __GLIBC__
