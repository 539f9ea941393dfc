#pragma once
// What is asked of a tensor without an operator, and its memory as an array of JavaScript.

#include <cstring>

#include "values.h"

namespace {

/** release(Uint32Array handles, count): drops the first `count` handles. */
void release(Call& call) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(call.env, call.values[0], &type, &length, &data, nullptr, nullptr) != napi_ok || type != napi_uint32_array) {
    fail("expected a Uint32Array");
  }
  const auto count = to_int(call.env, call.values[1]);
  if (count < 0 || static_cast<size_t>(count) > length) fail("count is out of range");
  const auto* handles = static_cast<const uint32_t*>(data);
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
  return from_numbers(call.env, tensor_argument(call).sizes());
}

napi_value strides(Call& call) {
  return from_numbers(call.env, tensor_argument(call).strides());
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

/** fromBuffer(view, dtype, shape, copy) → tensor over the bytes of an ArrayBuffer view (which stays alive), or over a copy. */
napi_value from_buffer(Call& call) {
  napi_env env = call.env;
  napi_value view = call.values[0];
  napi_typedarray_type kind;
  size_t length = 0;
  size_t offset = 0;
  void* data = nullptr;
  napi_value buffer;
  if (napi_get_typedarray_info(env, view, &kind, &length, &data, &buffer, &offset) != napi_ok) fail("expected a typed array");
  static constexpr size_t widths[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
  if (static_cast<size_t>(kind) >= std::size(widths)) fail("this typed array is not supported");
  const size_t available = length * widths[kind];
  const auto type = to_dtype(env, call.values[1]);
  const auto shape = to_ints(env, call.values[2]);
  const size_t bytes = byte_size(shape, type);
  if (bytes != available) {
    fail("the array has " + std::to_string(available) + " bytes (0 if its buffer was detached), the shape needs " + std::to_string(bytes));
  }
  const auto options = at::TensorOptions().dtype(type);
  if (to_bool(env, call.values[3]) || bytes == 0) {
    at::Tensor tensor = at::empty(shape, options);
    if (bytes) std::memcpy(tensor.data_ptr(), data, bytes);
    return from_tensor(call, tensor);
  }
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(type) != 0) fail("the array is not aligned to its dtype");
  napi_ref reference;
  check(env, napi_create_reference(env, buffer, 1, &reference));
  return from_tensor(call, at::from_blob(data, shape, [released = call.context.released, reference](void*) { released->add(reference); }, options));
}

at::Tensor plain(const at::Tensor& tensor) {
  if (tensor.device().type() != at::kCPU) fail("the tensor is on " + tensor.device().str() + ", not on cpu");
  return tensor.detach().contiguous();
}

/** copyOut(handle) → ArrayBuffer with a copy of the elements in order, in memory that a garbage collection frees at once. */
napi_value copy_out(Call& call) {
  const at::Tensor tensor = plain(tensor_argument(call));
  const size_t bytes = tensor.nbytes();
  // V8 ends the process when it has no memory for a buffer. This throws, and what it took is free again for V8.
  at::empty({static_cast<int64_t>(bytes)}, at::kByte);
  napi_value buffer;
  void* data = nullptr;
  check(call.env, napi_create_arraybuffer(call.env, bytes, &data, &buffer));
  if (bytes) std::memcpy(data, tensor.data_ptr(), bytes);
  return buffer;
}

/** view(handle) → ArrayBuffer over the tensor's own memory (contiguous, cpu); writes go both ways; keeps the storage alive. */
napi_value view(Call& call) {
  const auto& tensor = tensor_argument(call);
  if (!tensor.is_contiguous()) fail("only a contiguous tensor can be viewed");
  if (tensor.nbytes() == 0) return copy_out(call);  // from no memory Node makes a buffer that counts as detached
  auto* holder = new at::Tensor(plain(tensor));
  napi_value buffer;
  const auto status = napi_create_external_arraybuffer(
      call.env, holder->data_ptr(), holder->nbytes(), [](napi_env, void*, void* hint) { delete static_cast<at::Tensor*>(hint); }, holder, &buffer);
  if (status != napi_ok) delete holder;
  check(call.env, status);
  return buffer;
}

}  // namespace
