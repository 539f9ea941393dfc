#pragma once
// Errors, and what one JavaScript environment holds: tensors, operators, generators and files by number.

#include <node_api.h>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
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

/** How an argument is read. */
struct Argument {
  c10::TypeKind kind;  // of a list: of its elements
  bool list;
  bool optional;  // None is allowed
  int32_t fixed;  // length of a sized list, or -1
};

struct Operator {
  c10::OperatorHandle handle;
  std::string name;
  std::vector<Argument> arguments;
  bool in_place;  // gives back its first argument: JavaScript already holds that handle
  bool replaces_memory;  // gives its first argument other memory
  uint32_t written;      // bit i: it writes to argument i
};

/** Values by number. 0 is never one, and a number that was released is given again. */
template <class Value>
class Table {
 public:
  /** kind: what a value is called in messages. */
  explicit Table(const char* kind) : kind_(kind) {}

  uint32_t put(Value value) {
    if (free_.empty()) {
      values_.push_back(std::move(value));
      return static_cast<uint32_t>(values_.size() - 1);
    }
    const uint32_t number = free_.back();
    free_.pop_back();
    values_[number] = std::move(value);
    return number;
  }

  bool has(uint32_t number) const { return number < values_.size() && values_[number].defined(); }

  Value& get(uint32_t number) {
    if (!has(number)) fail(std::string("this ") + kind_ + " was disposed");
    return values_[number];
  }

  void release(uint32_t number) {
    if (!has(number)) return;
    values_[number] = Value();
    free_.push_back(number);
  }

  size_t size() const { return values_.size() - 1 - free_.size(); }

 private:
  const char* kind_;
  std::vector<Value> values_{Value()};
  std::vector<uint32_t> free_;
};

/** References to JavaScript values that are no longer needed. Any thread may add one; the next call from JavaScript deletes them. */
class Released {
 public:
  /** Makes room for one reference, so that `add`, which destructors call, cannot fail. */
  void expect() {
    const std::lock_guard lock(mutex_);
    if (references_.capacity() <= expected_) references_.reserve(2 * expected_ + 1);
    expected_++;
  }

  void add(napi_ref reference) {
    const std::lock_guard lock(mutex_);
    references_.push_back(reference);
    any_ = true;
  }

  void drain(napi_env env) {
    if (!any_) return;
    const std::lock_guard lock(mutex_);
    any_ = false;
    for (napi_ref reference : references_) napi_delete_reference(env, reference);
    expected_ -= references_.size();
    references_.clear();
  }

 private:
  std::atomic<bool> any_ = false;
  std::mutex mutex_;
  std::vector<napi_ref> references_;
  size_t expected_ = 0;  // those that are here and those that will come
};

class BorrowedArray;

/** The arrays of JavaScript that tensors lie over. */
class BorrowedArrays {
 public:
  bool none() const { return count_ == 0; }

  void add(const BorrowedArray* array) {
    const std::lock_guard lock(mutex_);
    arrays_.insert(array);
    count_ = arrays_.size();
  }

  /** On any thread. */
  void remove(const BorrowedArray* array) {
    const std::lock_guard lock(mutex_);
    arrays_.erase(array);
    count_ = arrays_.size();
  }

  template <class Visit>
  void each(const Visit& visit) {
    const std::lock_guard lock(mutex_);
    for (const BorrowedArray* array : arrays_) visit(array);
  }

 private:
  std::atomic<size_t> count_ = 0;
  std::mutex mutex_;
  std::unordered_set<const BorrowedArray*> arrays_;
};

class Mapping;

/** All state of one JavaScript environment. */
struct Context {
  napi_env env;
  Table<at::Tensor> tensors{"tensor"};
  std::deque<Operator> operators;  // not a vector: JavaScript may run during a call (a getter in an array) and ask for another operator
  std::unordered_map<std::string, uint32_t> operator_index;
  Table<at::Generator> generators{"generator"};
  std::unordered_map<uint32_t, std::shared_ptr<Mapping>> mappings;
  uint32_t next_mapping = 1;
  std::vector<std::unique_ptr<c10::InferenceMode>> inference;
  std::vector<c10::IValue> stack;
  JavaScriptThread thread;
  // What outlives the environment may still reach these two.
  std::shared_ptr<Released> released = std::make_shared<Released>();
  std::shared_ptr<BorrowedArrays> borrowed = std::make_shared<BorrowedArrays>();
};

}  // namespace
