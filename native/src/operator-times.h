#pragma once
// Which operators took the time.

#include <ctime>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include <ATen/record_function.h>

#include "values.h"

namespace {

/** Calls and seconds of each operator, by libtorch's own observer: it sees what JavaScript calls, and what autograd and operators call. */
class OperatorTimes {
 public:
  static void start() {
    if (observer) return;
    observer = at::addGlobalCallback(at::RecordFunctionCallback(&begin, &end).scopes({at::RecordScope::FUNCTION}));
  }

  static void stop() {
    if (observer) at::removeCallback(*observer);
    observer.reset();
  }

  struct Times {
    double calls = 0, seconds = 0;
  };
  /** What was counted since it was last taken. */
  static std::unordered_map<std::string, Times> take() {
    const std::lock_guard lock(mutex);
    return std::exchange(times, {});
  }

 private:
  /** A call that has begun. Its own time is what its calls of others did not take. */
  struct Running : at::ObserverContext {
    explicit Running(Running* outer) : outer(outer), begun(now()) {}
    Running* outer;
    double begun, within = 0;
  };

  /** Of this thread, on a processor. */
  static double now() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction&) {
    auto call = std::make_unique<Running>(innermost);
    innermost = call.get();
    return call;
  }

  static void end(const at::RecordFunction& function, at::ObserverContext* context) {
    auto* call = static_cast<Running*>(context);
    if (!call) return;
    const double took = now() - call->begun;
    innermost = call->outer;
    if (innermost) innermost->within += took;
    const std::lock_guard lock(mutex);
    Times& of = times[function.name()];
    of.calls++;
    of.seconds += took - call->within;
  }

  inline static thread_local Running* innermost = nullptr;
  inline static std::optional<at::CallbackHandle> observer;
  inline static std::mutex mutex;
  // Never destroyed: a thread may end a call late.
  inline static auto& times = *new std::unordered_map<std::string, Times>();
};

/** operatorTimes(on) → [name, calls, seconds, …] since the last call; on: whether what follows is counted. */
napi_value operator_times(Call& call) {
  const bool on = to_bool(call.env, call.values[0]);
  if (on) OperatorTimes::start();
  else OperatorTimes::stop();
  napi_value result;
  check(call.env, napi_create_array(call.env, &result));
  uint32_t at = 0;
  for (const auto& [name, of] : OperatorTimes::take()) {
    for (const napi_value value : {from_string(call.env, name), from_number(call.env, of.calls), from_number(call.env, of.seconds)}) {
      check(call.env, napi_set_element(call.env, result, at++, value));
    }
  }
  return result;
}

}  // namespace
