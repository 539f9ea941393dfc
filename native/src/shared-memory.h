#pragma once
// Memory that a tensor and JavaScript share.
//
// JavaScript can take an ArrayBuffer's memory away (a transfer, a smaller size), and libtorch can give a tensor other memory (resize_,
// set_). Neither may leave the other side with a pointer to what was freed.

#include <algorithm>
#include <mutex>
#include <unordered_set>

#include "values.h"

namespace {

/** The memory of a typed array as it is now. Good only until JavaScript runs: read every other argument before. */
struct ArrayBytes {
  napi_typedarray_type kind;
  napi_value buffer;
  size_t offset;  // within the buffer
  size_t size;
  void* data;
};

ArrayBytes bytes_of(napi_env env, napi_value array) {
  ArrayBytes bytes{};
  size_t length = 0;
  if (napi_get_typedarray_info(env, array, &bytes.kind, &length, &bytes.data, &bytes.buffer, &bytes.offset) != napi_ok) {
    fail("expected a typed array");
  }
  static constexpr size_t widths[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
  if (static_cast<size_t>(bytes.kind) >= std::size(widths)) fail("this typed array is not supported");
  bytes.size = length * widths[bytes.kind];
  // A view of fixed length over a buffer that has shrunk below it has no bytes, whatever length the engine tells.
  void* start = nullptr;
  size_t whole = 0;
  const bool told = napi_get_arraybuffer_info(env, bytes.buffer, &start, &whole) == napi_ok;  // some versions tell nothing of shared ones
  if (told && (bytes.offset > whole || bytes.size > whole - bytes.offset)) bytes.size = 0;
  return bytes;
}

/** An array's memory under a tensor. It belongs to the array, so it is looked at again before each use. */
class BorrowedArray {
 public:
  static at::Tensor tensor(Context& context, const ArrayBytes& bytes, at::IntArrayRef shape, const at::TensorOptions& options) {
    auto array = std::unique_ptr<BorrowedArray>(new BorrowedArray(context, bytes));
    return at::for_blob(bytes.data, shape).context(array.release(), &let_go).options(options).make_tensor();
  }

  static bool under(const at::Tensor& tensor) { return of(tensor) != nullptr; }

  /** Throws where the array under this tensor is not what it was. */
  static void check(napi_env env, const at::Tensor& tensor) {
    const auto* array = of(tensor);
    if (array && !array->as_it_was(env)) fail("the array under this tensor was detached or resized");
  }

  /** The same for each tensor among the arguments of a call. */
  static void check(const Context& context, const std::vector<c10::IValue>& arguments) {
    if (context.borrowed->none()) return;
    for (const auto& value : arguments) {
      if (value.isTensor()) check(context.env, value.toTensor());
      else if (value.isTensorList()) for (const at::Tensor& each : value.toTensorVector()) check(context.env, each);
      else if (value.isList()) for (const c10::IValue& each : value.toListRef()) if (each.isTensor()) check(context.env, each.toTensor());
    }
  }

  /** The same for all: a graph does not tell which it needs. */
  static void check_all(const Context& context) {
    if (context.borrowed->none()) return;
    context.borrowed->each([&](const BorrowedArray* array) {
      if (!array->as_it_was(context.env)) fail("the array under a tensor was detached or resized: dispose of that tensor before backward");
    });
  }

 private:
  BorrowedArray(Context& context, const ArrayBytes& bytes) : all_(context.borrowed), released_(context.released), end_(bytes.offset + bytes.size) {
    size_t whole = 0;
    told_ = napi_get_arraybuffer_info(context.env, bytes.buffer, &start_, &whole) == napi_ok;
    all_->add(this);
    released_->expect();
    const auto status = napi_create_reference(context.env, bytes.buffer, 1, &reference_);
    if (status == napi_ok) return;
    all_->remove(this);
    ::check(context.env, status);
  }

  static const BorrowedArray* of(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.has_storage()) return nullptr;
    const auto& data = tensor.storage().data_ptr();
    return data.get_deleter() == &let_go ? static_cast<const BorrowedArray*>(data.get_context()) : nullptr;
  }

  /** The tensor's memory is not needed any more. On any thread. */
  static void let_go(void* pointer) {
    const std::unique_ptr<BorrowedArray> array(static_cast<BorrowedArray*>(pointer));
    array->all_->remove(array.get());
    array->released_->add(array->reference_);
  }

  bool as_it_was(napi_env env) const {
    if (!told_) return true;  // shared between threads: it can only grow
    napi_value buffer;
    void* start = nullptr;
    size_t whole = 0;
    return napi_get_reference_value(env, reference_, &buffer) == napi_ok && napi_get_arraybuffer_info(env, buffer, &start, &whole) == napi_ok &&
           start == start_ && end_ <= whole;
  }

  std::shared_ptr<BorrowedArrays> all_;
  std::shared_ptr<Released> released_;
  napi_ref reference_ = nullptr;
  void* start_ = nullptr;  // of the buffer
  size_t end_;             // of the array within it
  bool told_ = false;
};

/** A tensor's memory under ArrayBuffers. It has as many owners: whatever becomes of the tensor, it stays until the last buffer is gone. */
class LentMemory {
 public:
  /** One more owner. The tensor's storage can no longer be resized. */
  static std::shared_ptr<at::DataPtr> of(const at::Tensor& tensor) {
    const at::Storage& storage = tensor.storage();
    if (storage.data_ptr().get_deleter() == &let_go) return *static_cast<Owner*>(storage.data_ptr().get_context());
    void* data = storage.mutable_data();  // of its own, where it was a copy that waits for the first write
    auto memory = std::make_shared<at::DataPtr>();
    auto owner = std::make_unique<Owner>(memory);
    *memory = storage.set_data_ptr({data, owner.get(), &let_go, storage.device()});
    owner.release();
    storage.unsafeGetStorageImpl()->set_resizable(false);
    return memory;
  }

 private:
  using Owner = std::shared_ptr<at::DataPtr>;
  static void let_go(void* owner) { delete static_cast<Owner*>(owner); }
};

/** Throws where an operator that gives its tensor other memory would part it from the array that shares it. */
void check_replaceable(const at::Tensor& tensor) {
  if (tensor.defined() && tensor.has_storage() && !tensor.storage().resizable()) {
    fail("its memory is shared with an ArrayBuffer or a file, and cannot be replaced");
  }
}

}  // namespace
