#pragma once
// Streams of random numbers.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/AcceleratorHooksInterface.h>

#include "dispatch.h"
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
  auto& context = call.context;
  if (!context.free_generators.empty()) {
    const uint32_t handle = context.free_generators.back();
    context.free_generators.pop_back();
    context.generators[handle] = std::move(made);
    return from_handle(call.env, handle);
  }
  context.generators.push_back(std::move(made));
  return from_handle(call.env, static_cast<uint32_t>(context.generators.size() - 1));
}

napi_value release_generator(Call& call) {
  const auto handle = to_handle(call.env, call.values[0]);
  get_generator(call.context, handle) = at::Generator();
  call.context.free_generators.push_back(handle);
  return undefined(call.env);
}

napi_value generator_state(Call& call) {
  auto& entry = get_generator(call.context, to_handle(call.env, call.values[0]));
  const std::lock_guard<std::mutex> lock(entry.mutex());
  return from_tensor(call, entry.get_state());
}

napi_value set_generator_state(Call& call) {
  auto& entry = get_generator(call.context, to_handle(call.env, call.values[0]));
  const std::lock_guard<std::mutex> lock(entry.mutex());
  entry.set_state(tensor_argument(call, 1));
  return undefined(call.env);
}

}  // namespace
