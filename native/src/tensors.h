#pragma once
// What is asked of a tensor without an operator, and its memory as an array of JavaScript.

#include <cstring>

#include "shared-memory.h"

namespace {

/** release(Uint32Array handles, count): drops the first `count` handles. */
void release(Call& call) {
  const auto count = to_int(call.env, call.values[1]);
  const auto bytes = bytes_of(call.env, call.values[0]);
  if (bytes.kind != napi_uint32_array) fail("expected a Uint32Array");
  if (count < 0 || static_cast<size_t>(count) > bytes.size / sizeof(uint32_t)) fail("count is out of range");
  const auto* handles = static_cast<const uint32_t*>(bytes.data);
  for (int64_t i = 0; i < count; i++) call.context.tensors.release(handles[i]);
}

void release_one(Call& call) {
  call.context.tensors.release(to_handle(call.env, call.values[0]));
}

at::Tensor& tensor_argument(Call& call, size_t index = 0) { return to_tensor(call, call.values[index]); }

/** alias(handle) → a second handle on the same tensor. */
napi_value alias(Call& call) {
  at::Tensor tensor = tensor_argument(call);
  return from_handle(call.env, call.context.tensors.put(std::move(tensor)));
}

/** replace(handle, source): the handle now means the source's tensor. */
void replace(Call& call) {
  at::Tensor source = tensor_argument(call, 1);
  tensor_argument(call, 0) = std::move(source);
}

napi_value sizes(Call& call) {
  const auto numbers = tensor_argument(call).sizes().vec();  // a copy: a setter of Array.prototype could dispose of the tensor
  return from_numbers(call.env, numbers);
}

napi_value strides(Call& call) {
  const auto numbers = tensor_argument(call).strides().vec();
  return from_numbers(call.env, numbers);
}

napi_value dtype(Call& call) { return from_number(call.env, static_cast<int>(tensor_argument(call).scalar_type())); }
napi_value device(Call& call) { return from_string(call.env, tensor_argument(call).device().str()); }
napi_value requires_grad(Call& call) { return from_bool(call.env, tensor_argument(call).requires_grad()); }
napi_value is_leaf(Call& call) { return from_bool(call.env, tensor_argument(call).is_leaf()); }

void set_requires_grad(Call& call) {
  tensor_argument(call).requires_grad_(to_bool(call.env, call.values[1]));
}

/** item(handle) → the only element as a number. */
napi_value item(Call& call) {
  const auto& tensor = tensor_argument(call);
  BorrowedArray::check(call.env, tensor);
  const c10::Scalar scalar = tensor.item();
  if (scalar.isIntegral(true)) return from_number(call.env, static_cast<double>(scalar.toLong()));
  return from_number(call.env, scalar.toDouble());
}

size_t byte_size(at::IntArrayRef shape, at::ScalarType type) {
  size_t bytes = c10::elementSize(type);
  for (const int64_t n : shape) {
    if (n < 0) fail("a size is negative");
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(n), &bytes)) fail("the shape is too large");
  }
  return bytes;
}

/** fromBuffer(array, dtype, shape, copy) → tensor over the bytes of a typed array (which stays alive), or over a copy. */
napi_value from_buffer(Call& call) {
  napi_env env = call.env;
  const auto type = to_dtype(env, call.values[1]);
  const auto shape = to_ints(env, call.values[2]);
  const bool copy = to_bool(env, call.values[3]);
  const size_t wanted = byte_size(shape, type);
  const auto bytes = bytes_of(env, call.values[0]);  // last: reading the shape may have run JavaScript
  if (bytes.size != wanted) {
    fail("the array has " + std::to_string(bytes.size) + " bytes (0 if its buffer was detached), the shape needs " + std::to_string(wanted));
  }
  const auto options = at::TensorOptions().dtype(type);
  if (copy || wanted == 0) {
    at::Tensor tensor = at::empty(shape, options);
    if (wanted) std::memcpy(tensor.data_ptr(), bytes.data, wanted);
    return from_tensor(call, tensor);
  }
  if (reinterpret_cast<uintptr_t>(bytes.data) % c10::elementSize(type) != 0) fail("the array is not aligned to its dtype");
  return from_tensor(call, BorrowedArray::tensor(call.context, bytes, shape, options));
}

at::Tensor plain(napi_env env, const at::Tensor& tensor) {
  if (tensor.device().type() != at::kCPU) fail("the tensor is on " + tensor.device().str() + ", not on cpu");
  BorrowedArray::check(env, tensor);
  return tensor.detach().resolve_conj().resolve_neg().contiguous();
}

/** Where the elements of a contiguous tensor begin. Throws where there is no such memory, as of zeros that are never stored. */
void* elements(const at::Tensor& tensor) {
  const size_t end = tensor.storage_offset() * tensor.itemsize() + tensor.nbytes();
  void* data = tensor.storage().nbytes() < end ? nullptr : tensor.mutable_data_ptr();
  if (!data) fail("the tensor has no memory of its own");
  return data;
}

/** copyOut(handle) → ArrayBuffer with a copy of the elements in order, in memory that a garbage collection frees at once. */
napi_value copy_out(Call& call) {
  const at::Tensor tensor = plain(call.env, tensor_argument(call));
  const size_t bytes = tensor.nbytes();
  // V8 ends the process when it has no memory for a buffer. This throws, and what it took is free again for V8.
  at::empty({static_cast<int64_t>(bytes)}, at::kByte);
  napi_value buffer;
  void* data = nullptr;
  check(call.env, napi_create_arraybuffer(call.env, bytes, &data, &buffer));
  if (bytes) std::memcpy(data, elements(tensor), bytes);
  return buffer;
}

/** view(handle) → ArrayBuffer over the tensor's own memory (contiguous, cpu); writes go both ways; keeps the memory alive. */
napi_value view(Call& call) {
  const auto& tensor = tensor_argument(call);
  if (!tensor.is_contiguous() || tensor.is_conj() || tensor.is_neg()) fail("only a contiguous tensor can be viewed");
  if (tensor.nbytes() == 0) return copy_out(call);  // from no memory Node makes a buffer that counts as detached
  if (BorrowedArray::under(tensor)) fail("this tensor lies over an array: use that array");
  const at::Tensor whole = plain(call.env, tensor);
  void* data = elements(whole);
  auto owner = std::make_unique<std::shared_ptr<at::DataPtr>>(LentMemory::of(whole));
  napi_value buffer;
  const auto let_go = [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<at::DataPtr>*>(hint); };
  check(call.env, napi_create_external_arraybuffer(call.env, data, whole.nbytes(), let_go, owner.get(), &buffer));
  owner.release();
  return buffer;
}

}  // namespace
