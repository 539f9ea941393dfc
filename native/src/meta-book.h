#pragma once
#include <c10/core/Allocator.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

/**
 * Books the memory that tensors of the meta device would have, as long as anything holds it: handles, views, the autograd graph. So a
 * run on `meta` tells what the same run needs on a real device.
 */
class MetaBook final : public c10::Allocator {
 public:
  /** Empties the book and writes from now on. */
  static void open() {
    const std::lock_guard lock(mutex);
    entries.clear();
    whole = true;
    recording = true;
    owner = std::this_thread::get_id();
  }

  /**
   * Ends the writing → what happened, in order, two numbers each: the block, negative where another thread than the one that opened the
   * book did it; and its bytes, negative where it was freed. Throws where there was no memory for all of it.
   */
  static std::vector<double> close() {
    const std::lock_guard lock(mutex);
    recording = false;
    if (!whole) throw std::bad_alloc();
    return std::move(entries);
  }

  c10::DataPtr allocate(size_t bytes) override {
    auto* block = new Block{++blocks, bytes};
    write(*block, 1);
    return {nullptr, block, &strike_out, c10::Device(c10::DeviceType::Meta)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void*, const void*, size_t) const override {}

 private:
  struct Block {
    uint64_t number;
    size_t bytes;
  };

  static void strike_out(void* entry) {
    const std::unique_ptr<Block> block(static_cast<Block*>(entry));
    write(*block, -1);
  }

  static void write(const Block& block, int sign) {
    const std::lock_guard lock(mutex);
    if (!recording || block.bytes == 0) return;
    const auto number = static_cast<double>(block.number);
    try {
      entries.push_back(std::this_thread::get_id() == owner ? number : -number);
      entries.push_back(sign * static_cast<double>(block.bytes));
    } catch (const std::bad_alloc&) {
      whole = recording = false;  // a tensor's end must not throw
    }
  }

  inline static std::mutex mutex;
  inline static bool recording = false;
  inline static bool whole = true;
  inline static std::thread::id owner;
  inline static std::atomic<uint64_t> blocks = 0;
  inline static std::vector<double> entries;
};
