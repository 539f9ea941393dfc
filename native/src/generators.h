#pragma once
// Streams of random numbers.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/AcceleratorHooksInterface.h>

#include "tensors.h"

namespace {

/** generator(seed, device) → handle. */
napi_value generator(Call& call) {
  const auto seed = static_cast<uint64_t>(to_int(call.env, call.values[0]));
  const c10::Device device(to_string(call.env, call.values[1]));
  at::Generator made;
  if (device.is_cpu()) {
    made = at::detail::createCPUGenerator(seed);
  } else {
    made = at::globalContext().getAcceleratorHooksInterface(device.type()).getNewGenerator(device.index());
    made.set_current_seed(seed);
  }
  return from_handle(call.env, call.context.generators.put(std::move(made)));
}

void release_generator(Call& call) { call.context.generators.release(to_handle(call.env, call.values[0])); }

napi_value generator_state(Call& call) {
  auto& entry = call.context.generators.get(to_handle(call.env, call.values[0]));
  const std::lock_guard<std::mutex> lock(entry.mutex());
  return from_tensor(call, entry.get_state());
}

void set_generator_state(Call& call) {
  auto& entry = call.context.generators.get(to_handle(call.env, call.values[0]));
  const auto& state = tensor_argument(call, 1);
  BorrowedArray::check(call.env, state);
  const std::lock_guard<std::mutex> lock(entry.mutex());
  entry.set_state(state);
}

}  // namespace
