#pragma once
// Gradients, and the modes that decide what is recorded for them.

#include <torch/csrc/autograd/autograd.h>

#include "checkpoint.h"
#include "tensors.h"

namespace {

std::vector<at::Tensor> optional_tensors(Call& call, napi_value array) {
  if (is_nullish(call.env, array)) return {};
  return to_list<std::vector<at::Tensor>>(call.env, array, [&](napi_value v) { return is_nullish(call.env, v) ? at::Tensor() : to_tensor(call, v); });
}

/** backward(roots, gradients | null, retainGraph, away): adds to `.grad` of the leaves. away: on another thread, as a GPU's nodes are. */
void backward(Call& call) {
  const auto roots = to_tensors(call, call.values[0]);
  const auto gradients = optional_tensors(call, call.values[1]);
  const bool retain = to_bool(call.env, call.values[2]);
  const bool away = to_bool(call.env, call.values[3]);
  BorrowedArray::check_all(call.context);
  through_engine(call, away, [&] { torch::autograd::backward(roots, gradients, retain, false); });
}

/** grad(outputs, inputs, gradients | null, retainGraph, createGraph) → handles, null where an input has no part in the outputs. */
napi_value grad(Call& call) {
  const auto outputs = to_tensors(call, call.values[0]);
  const auto inputs = to_tensors(call, call.values[1]);
  const auto given = optional_tensors(call, call.values[2]);
  const bool retain = to_bool(call.env, call.values[3]);
  const bool create = to_bool(call.env, call.values[4]);
  std::vector<at::Tensor> gradients;
  BorrowedArray::check_all(call.context);
  through_engine(call, false, [&] { gradients = torch::autograd::grad(outputs, inputs, given, retain, create, true); });
  return from_list(call.env, gradients, [&](const at::Tensor& t) { return from_tensor(call, t); });
}

/** gradOf(handle) → handle of `.grad`, or null. */
napi_value grad_of(Call& call) {
  return from_tensor(call, tensor_argument(call).grad());
}

/** setGrad(handle, gradient | null). */
void set_grad(Call& call) {
  auto& tensor = tensor_argument(call);
  if (is_nullish(call.env, call.values[1])) {
    tensor.mutable_grad().reset();
    return;
  }
  // Optimizer kernels take for granted that a gradient is like its parameter.
  const auto& gradient = tensor_argument(call, 1);
  if (gradient.sizes() != tensor.sizes() || gradient.scalar_type() != tensor.scalar_type() || gradient.device() != tensor.device()) {
    fail("a gradient of " + describe(gradient) + " does not fit a tensor of " + describe(tensor));
  }
  if (gradient.is_same(tensor)) fail("a tensor cannot be its own gradient");
  tensor.mutable_grad() = gradient;
}

/** setGradMode(on) → what it was. */
napi_value set_grad_mode(Call& call) {
  const bool before = at::GradMode::is_enabled();
  at::GradMode::set_enabled(to_bool(call.env, call.values[0]));
  return from_bool(call.env, before);
}

void push_inference_mode(Call& call) {
  call.context.inference.push_back(std::make_unique<c10::InferenceMode>(to_bool(call.env, call.values[0])));
}

void pop_inference_mode(Call& call) {
  if (call.context.inference.empty()) fail("inference mode is not on");
  call.context.inference.pop_back();
}

/** setAutocast(device, enabled, dtype) → [enabled, dtype] as they were. */
napi_value set_autocast(Call& call) {
  const auto type = c10::Device(to_string(call.env, call.values[0])).type();
  const int64_t before[] = {at::autocast::is_autocast_enabled(type), static_cast<int64_t>(at::autocast::get_autocast_dtype(type))};
  const bool enabled = to_bool(call.env, call.values[1]);
  at::autocast::set_autocast_dtype(type, to_dtype(call.env, call.values[2]));
  at::autocast::set_autocast_enabled(type, enabled);
  if (!enabled) at::autocast::clear_cache();
  return from_numbers(call.env, before);
}

}  // namespace
