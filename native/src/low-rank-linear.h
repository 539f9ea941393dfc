#pragma once
// A linear map and a low-rank one beside it, as one operator with one node of autograd.

#include <tuple>

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "instruction-sets.h"

namespace {

/** By libtorch's operators, each with a node of its own; the low-rank map in the dtype of `down`. */
at::Tensor low_rank_linear_of_libtorch(const at::Tensor& x, const at::Tensor& down, const at::Tensor& up, const at::Tensor& weight,
                                       const std::optional<at::Tensor>& bias, double factor) {
  const at::Tensor low = at::matmul(at::matmul(x.to(down.scalar_type()), down.t()), up.t());
  const at::Tensor y = at::linear(x, weight, bias);
  return y.add(low.to(y.scalar_type()), factor);
}

/** [..., n] → [rows, n] */
at::Tensor in_rows(const at::Tensor& x) { return x.dim() == 2 ? x : x.reshape({-1, x.size(-1)}); }

/** → y [rows, out], and x·downᵀ [rows, rank]. */
std::tuple<at::Tensor, at::Tensor> low_rank_forward(const at::Tensor& x, const at::Tensor& down, const at::Tensor& up,
                                                    const at::Tensor& weight, const std::optional<at::Tensor>& bias, double factor) {
  const at::Tensor low = at::mm(x, down.t());
  at::Tensor y = bias && bias->defined() ? at::addmm(*bias, x, weight.t()) : at::mm(x, weight.t());
  return {y.addmm_(low, up.t(), 1, factor), low};
}

class LowRankLinear : public torch::autograd::Function<LowRankLinear> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& down, const at::Tensor& up,
                            const at::Tensor& weight, const std::optional<at::Tensor>& bias, double factor) {
    auto [y, low] = low_rank_forward(in_rows(x), down, up, weight, bias, factor);
    context->save_for_backward({x, down, up, weight, low});
    context->saved_data["factor"] = factor;
    auto sizes = x.sizes().vec();
    sizes.back() = weight.size(0);
    return at::_unsafe_view(y, sizes);
  }

  /** By operators that have gradients themselves. */
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &down = saved[1], &up = saved[2], &weight = saved[3];
    const at::Tensor rows = in_rows(x), dy = in_rows(gradients[0]);
    // What forward kept has no graph.
    const at::Tensor low = at::GradMode::is_enabled() ? at::mm(rows, down.t()) : saved[4];
    const double factor = context->saved_data["factor"].toDouble();
    torch::autograd::variable_list found(6);
    const at::Tensor du = at::mm(dy, up).mul_(factor);
    if (context->needs_input_grad(0)) found[0] = at::mm(dy, weight).addmm_(du, down).view_as(x);
    if (context->needs_input_grad(1)) found[1] = at::mm(du.t(), rows);
    if (context->needs_input_grad(2)) found[2] = at::mm(dy.t(), low).mul_(factor);
    return found;
  }
};

/** Whether one node is to compute this: all of one dtype, and nothing under the adapter learns. */
bool is_plain_low_rank(const at::Tensor& x, const at::Tensor& down, const at::Tensor& up, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias) {
  const auto fits = [&](const at::Tensor& t) {
    return t.layout() == at::kStrided && t.scalar_type() == x.scalar_type() && t.device() == x.device() && !t._is_zerotensor();
  };
  const bool biased = bias && bias->defined();
  return x.dim() > 0 && x.numel() > 0 && fits(x) && fits(down) && fits(up) && fits(weight) && (!biased || fits(*bias)) &&
         !at::autocast::is_autocast_enabled(x.device().type()) && !weight.requires_grad() && !(biased && bias->requires_grad());
}

/** x [..., in], down [rank, in], up [out, rank], weight [out, in], bias [out] → x·(weight + factor·up·down)ᵀ + bias [..., out]. */
at::Tensor low_rank_linear(const at::Tensor& x, const at::Tensor& down, const at::Tensor& up, const at::Tensor& weight,
                           const std::optional<at::Tensor>& bias, double factor) {
  if (chosen_kernels == Kernels::libtorch || !is_plain_low_rank(x, down, up, weight, bias)) {
    return low_rank_linear_of_libtorch(x, down, up, weight, bias, factor);
  }
  return LowRankLinear::apply(x, down, up, weight, bias, factor);
}

/** Makes the operator known to the dispatcher. Once a process. */
void register_low_rank_linear() {
  // Never destroyed: libtorch's own statics may be gone by then.
  auto* library = new torch::Library(torch::Library::FRAGMENT, "spo", std::nullopt, __FILE__, __LINE__);
  library->def("low_rank_linear(Tensor input, Tensor down, Tensor up, Tensor weight, Tensor? bias, float factor) -> Tensor",
               low_rank_linear);
}

}  // namespace
