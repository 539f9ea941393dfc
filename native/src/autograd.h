#pragma once
// Gradients, and the modes that decide what is recorded for them.

#include <torch/csrc/autograd/autograd.h>

#include "checkpoint.h"
#include "tensors.h"

namespace {

std::vector<at::Tensor> optional_tensors(Call& call, napi_value array) {
  std::vector<at::Tensor> values;
  if (is_nullish(call.env, array)) return values;
  each(call.env, array, [&](napi_value v) {
    if (is_nullish(call.env, v)) values.emplace_back();
    else values.push_back(call.context.get(to_handle(call.env, v)));
  });
  return values;
}

/** backward(roots, gradients | null, retainGraph, away): adds to `.grad` of the leaves. away: on another thread, as a GPU's nodes are. */
napi_value backward(Call& call) {
  const auto roots = to_tensors(call, call.values[0]);
  const auto gradients = optional_tensors(call, call.values[1]);
  const bool retain = to_bool(call.env, call.values[2]);
  through_engine(call, to_bool(call.env, call.values[3]), [&] { torch::autograd::backward(roots, gradients, retain, false); });
  return undefined(call.env);
}

/** grad(outputs, inputs, gradients | null, retainGraph, createGraph) → handles, null where an input has no part in the outputs. */
napi_value grad(Call& call) {
  const auto outputs = to_tensors(call, call.values[0]);
  const auto inputs = to_tensors(call, call.values[1]);
  const auto given = optional_tensors(call, call.values[2]);
  const bool retain = to_bool(call.env, call.values[3]);
  const bool create = to_bool(call.env, call.values[4]);
  std::vector<at::Tensor> gradients;
  through_engine(call, false, [&] { gradients = torch::autograd::grad(outputs, inputs, given, retain, create, true); });
  return from_list(call.env, gradients, [&](const at::Tensor& t) { return from_tensor(call, t); });
}

/** gradOf(handle) → handle of `.grad`, or null. */
napi_value grad_of(Call& call) {
  const at::Tensor gradient = tensor_argument(call).grad();
  return from_tensor(call, gradient);
}

/** setGrad(handle, gradient | null). */
napi_value set_grad(Call& call) {
  auto& tensor = tensor_argument(call);
  if (is_nullish(call.env, call.values[1])) {
    tensor.mutable_grad().reset();
    return undefined(call.env);
  }
  // Optimizer kernels take for granted that a gradient is like its parameter.
  const auto& gradient = tensor_argument(call, 1);
  if (gradient.sizes() != tensor.sizes() || gradient.scalar_type() != tensor.scalar_type() || gradient.device() != tensor.device()) {
    fail("a gradient of " + describe(gradient) + " does not fit a tensor of " + describe(tensor));
  }
  if (gradient.is_same(tensor)) fail("a tensor cannot be its own gradient");
  tensor.mutable_grad() = gradient;
  return undefined(call.env);
}

/** clearGrads(handles): drops `.grad` of each. */
napi_value clear_grads(Call& call) {
  for (auto& tensor : to_tensors(call, call.values[0])) tensor.mutable_grad().reset();
  return undefined(call.env);
}

/** setGradMode(on) → what it was. */
napi_value set_grad_mode(Call& call) {
  const bool before = at::GradMode::is_enabled();
  at::GradMode::set_enabled(to_bool(call.env, call.values[0]));
  return from_bool(call.env, before);
}

napi_value push_inference_mode(Call& call) {
  call.context.inference.push_back(std::make_unique<c10::InferenceMode>(to_bool(call.env, call.values[0])));
  return undefined(call.env);
}

napi_value pop_inference_mode(Call& call) {
  if (call.context.inference.empty()) fail("inference mode is not on");
  call.context.inference.pop_back();
  return undefined(call.env);
}

/** setAutocast(device, enabled, dtype) → [enabled, dtype] as they were. */
napi_value set_autocast(Call& call) {
  const auto type = c10::Device(to_string(call.env, call.values[0])).type();
  const auto before = std::vector<double>{at::autocast::is_autocast_enabled(type) ? 1.0 : 0.0, static_cast<double>(at::autocast::get_autocast_dtype(type))};
  const bool enabled = to_bool(call.env, call.values[1]);
  at::autocast::set_autocast_dtype(type, to_dtype(call.env, call.values[2]));
  at::autocast::set_autocast_enabled(type, enabled);
  if (!enabled) at::autocast::clear_cache();
  return from_list(call.env, before, [&](double v) { return from_number(call.env, v); });
}

}  // namespace
