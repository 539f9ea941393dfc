#pragma once
// Tensors over the bytes of a file.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "tensors.h"

namespace {

/** map(path) → [mapping, size in bytes]. */
napi_value map_file(Call& call) {
  const auto path = to_string(call.env, call.values[0]);
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(path + ": " + std::strerror(errno));
  struct stat info{};
  if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(file);
    fail(path + ": not a regular file");
  }
  auto mapping = std::make_shared<Mapping>();
  mapping->size = static_cast<size_t>(info.st_size);
  if (mapping->size) {
    void* data = mmap(nullptr, mapping->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) {
      const int error = errno;
      close(file);
      fail(path + ": " + std::strerror(error));
    }
    mapping->data = static_cast<uint8_t*>(data);
  }
  close(file);
  const uint32_t id = call.context.next_mapping++;
  const auto size = static_cast<double>(mapping->size);
  call.context.mappings.emplace(id, std::move(mapping));
  return from_list(call.env, std::vector<double>{static_cast<double>(id), size}, [&](double v) { return from_number(call.env, v); });
}

std::shared_ptr<Mapping> get_mapping(Call& call) {
  const auto found = call.context.mappings.find(to_handle(call.env, call.values[0]));
  if (found == call.context.mappings.end()) fail("this file was closed");
  return found->second;
}

/** unmap(mapping): tensors over it stay valid; no new ones can be made. */
napi_value unmap(Call& call) {
  call.context.mappings.erase(to_handle(call.env, call.values[0]));
  return undefined(call.env);
}

/** fromMapping(mapping, offset, dtype, shape) → tensor over the file's bytes. */
napi_value from_mapping(Call& call) {
  const auto mapping = get_mapping(call);
  const auto offset = to_int(call.env, call.values[1]);
  const auto type = to_dtype(call.env, call.values[2]);
  const auto shape = to_ints(call.env, call.values[3]);
  const size_t bytes = byte_size(shape, type);
  if (offset < 0 || static_cast<size_t>(offset) > mapping->size || bytes > mapping->size - static_cast<size_t>(offset)) fail("outside the file");
  const auto options = at::TensorOptions().dtype(type);
  if (bytes == 0) return from_tensor(call, at::empty(shape, options));
  const auto begin = static_cast<size_t>(offset);
  auto* data = mapping->data + begin;
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
