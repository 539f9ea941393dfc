#pragma once
// Tensors over the bytes of a file.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "tensors.h"

namespace {

/** A file in memory, alive until the last tensor over it is gone. Private, so that a write never reaches the file. */
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(path + ": " + std::strerror(errno));
    struct stat info{};
    const bool regular = fstat(file, &info) == 0 && S_ISREG(info.st_mode);
    if (regular) size_ = static_cast<size_t>(info.st_size);
    if (size_) data_ = static_cast<uint8_t*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0));
    const int error = errno;
    close(file);
    if (!regular) fail(path + ": not a regular file");
    if (data_ == MAP_FAILED) fail(path + ": " + std::strerror(error));
  }
  Mapping(const Mapping&) = delete;
  ~Mapping() {
    if (data_) munmap(data_, size_);
  }

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

  /** A tensor lies over bytes [begin, end). */
  void enter(size_t begin, size_t end) {
    const std::lock_guard lock(mutex_);
    parts_.emplace_back(begin, end);
  }

  /**
   * That tensor is gone. Pages that no other one lies over go back to the system, and with them what was written there; the file's own
   * content stays in the system's cache. So weights that were copied or converted do not stand in memory twice.
   */
  void leave(size_t begin, size_t end) {
    static const size_t page = sysconf(_SC_PAGESIZE);
    const auto down = [](size_t at) { return at / page * page; };
    const auto up = [&](size_t at) { return down(at + page - 1); };
    const std::lock_guard lock(mutex_);
    const auto own = std::find(parts_.begin(), parts_.end(), std::pair(begin, end));
    if (own != parts_.end()) {
      *own = parts_.back();
      parts_.pop_back();
    }
    size_t from = down(begin);
    size_t to = up(end);
    for (const auto& [first, last] : parts_) {
      if (last <= begin) from = std::max(from, up(last));
      else if (first >= end) to = std::min(to, down(first));
      else return;
    }
    if (from < to) madvise(data_ + from, to - from, MADV_DONTNEED);
  }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  std::mutex mutex_;  // the last reference may die on a thread of autograd's
  std::vector<std::pair<size_t, size_t>> parts_;
};

/** map(path) → [mapping, size in bytes]. */
napi_value map_file(Call& call) {
  auto mapping = std::make_shared<Mapping>(to_string(call.env, call.values[0]));
  const uint32_t id = call.context.next_mapping++;
  const auto size = static_cast<int64_t>(mapping->size());
  call.context.mappings.emplace(id, std::move(mapping));
  return from_numbers(call.env, {id, size});
}

std::shared_ptr<Mapping> get_mapping(Call& call) {
  const auto found = call.context.mappings.find(to_handle(call.env, call.values[0]));
  if (found == call.context.mappings.end()) fail("this file was closed");
  return found->second;
}

/** unmap(mapping): tensors over it stay valid; no new ones can be made. */
void unmap(Call& call) {
  call.context.mappings.erase(to_handle(call.env, call.values[0]));
}

/** fromMapping(mapping, offset, dtype, shape) → tensor over the file's bytes. */
napi_value from_mapping(Call& call) {
  const auto mapping = get_mapping(call);
  const auto offset = to_int(call.env, call.values[1]);
  const auto type = to_dtype(call.env, call.values[2]);
  const auto shape = to_ints(call.env, call.values[3]);
  const size_t bytes = byte_size(shape, type);
  if (offset < 0 || static_cast<size_t>(offset) > mapping->size() || bytes > mapping->size() - static_cast<size_t>(offset)) fail("outside the file");
  const auto options = at::TensorOptions().dtype(type);
  if (bytes == 0) return from_tensor(call, at::empty(shape, options));
  const auto begin = static_cast<size_t>(offset);
  auto* data = mapping->data() + begin;
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(type) != 0) {
    at::Tensor tensor = at::empty(shape, options);
    std::memcpy(tensor.data_ptr(), data, bytes);
    return from_tensor(call, tensor);
  }
  const size_t end = begin + bytes;
  mapping->enter(begin, end);
  return from_tensor(call, at::from_blob(data, shape, [mapping, begin, end](void*) { mapping->leave(begin, end); }, options));
}

}  // namespace
