#pragma once
#include <c10/core/Allocator.h>

#include <atomic>

/**
 * Books the bytes that tensors of the meta device would have, as long as anything holds them: handles, views, the autograd graph. So a
 * run on `meta` tells what the same run needs on a real device.
 */
class MetaBook final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const auto now = alive += bytes;
    for (auto most = peak.load(); now > most && !peak.compare_exchange_weak(most, now);) {}
    return {nullptr, new size_t(bytes), &strike_out, c10::Device(c10::DeviceType::Meta)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void*, const void*, size_t) const override {}

  inline static std::atomic<size_t> alive{0};
  inline static std::atomic<size_t> peak{0};

 private:
  static void strike_out(void* entry) {
    auto* bytes = static_cast<size_t*>(entry);
    alive -= *bytes;
    delete bytes;
  }
};
