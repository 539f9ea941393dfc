#pragma once
// Errors, and what one JavaScript environment holds: tensors, operators, generators and files by number.

#include <node_api.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/InferenceMode.h>

#include "javascript-thread.h"

namespace {

/** Thrown for wrong arguments; the message is what the user reads. */
struct ArgumentError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/** Thrown when N-API has already put an exception in place. */
struct PendingException {};

/** What went wrong, without C++ frames. */
std::string reason(const std::exception& error) {
  const auto* from_torch = dynamic_cast<const c10::Error*>(&error);
  return from_torch ? from_torch->what_without_backtrace() : error.what();
}

[[noreturn]] void fail(const std::string& message) { throw ArgumentError(message); }

void check(napi_env env, napi_status status) {
  if (status == napi_ok) return;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) throw PendingException{};
  const napi_extended_error_info* info = nullptr;
  napi_get_last_error_info(env, &info);
  fail(info && info->error_message ? info->error_message : "N-API call failed");
}

enum class Kind : uint8_t {
  Tensor, TensorList, OptionalTensorList, Int, IntList, Float, FloatList, Bool, BoolList, Scalar, String, Device, Generator,
  ScalarType, Layout, MemoryFormat, Unsupported
};

struct Argument {
  Kind kind;
  bool optional;  // None is allowed
  int32_t fixed;  // length of a sized list, or -1
};

struct Operator {
  c10::OperatorHandle handle;
  std::string name;
  std::vector<Argument> arguments;
  bool in_place;  // gives back its first argument: JavaScript already holds that handle
};

/** A file in memory, alive until the last tensor over it is gone. Private, so that a write never reaches the file. */
struct Mapping {
  uint8_t* data = nullptr;
  size_t size = 0;
  ~Mapping() {
    if (data) munmap(data, size);
  }

  /** A tensor lies over bytes [begin, end). */
  void enter(size_t begin, size_t end) {
    const std::lock_guard<std::mutex> lock(mutex_);
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
    const std::lock_guard<std::mutex> lock(mutex_);
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
    if (from < to) madvise(data + from, to - from, MADV_DONTNEED);
  }

 private:
  std::mutex mutex_;  // the last reference may die on a thread of autograd's
  std::vector<std::pair<size_t, size_t>> parts_;
};

/** All state of one JavaScript environment. */
struct Context {
  napi_env env;
  std::vector<at::Tensor> tensors{at::Tensor()};  // handle 0 is never a tensor
  std::vector<uint32_t> free;
  std::deque<Operator> operators;  // not a vector: JavaScript may run during a call (a getter in an array) and ask for another operator
  std::unordered_map<std::string, uint32_t> operator_index;
  std::vector<at::Generator> generators{at::Generator()};
  std::vector<uint32_t> free_generators;
  std::unordered_map<uint32_t, std::shared_ptr<Mapping>> mappings;
  uint32_t next_mapping = 1;
  std::vector<std::unique_ptr<c10::InferenceMode>> inference;
  std::vector<c10::IValue> stack;
  JavaScriptThread thread;
  // References to array buffers whose last tensor died, perhaps on another thread; given back at the next call.
  std::shared_ptr<std::pair<std::mutex, std::vector<napi_ref>>> released =
      std::make_shared<std::pair<std::mutex, std::vector<napi_ref>>>();

  uint32_t put(at::Tensor tensor) {
    if (!free.empty()) {
      const uint32_t handle = free.back();
      free.pop_back();
      tensors[handle] = std::move(tensor);
      return handle;
    }
    tensors.push_back(std::move(tensor));
    return static_cast<uint32_t>(tensors.size() - 1);
  }

  at::Tensor& get(uint32_t handle) {
    if (handle == 0 || handle >= tensors.size() || !tensors[handle].defined()) fail("this tensor was disposed");
    return tensors[handle];
  }

  void release(uint32_t handle) {
    if (handle == 0 || handle >= tensors.size() || !tensors[handle].defined()) return;
    tensors[handle].reset();
    free.push_back(handle);
  }
};

}  // namespace
