#pragma once
// GEGLU as an operator with a gradient: one pass of our own, which keeps only its input for backward.

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "geglu-kernels.h"
#include "parallel.h"

namespace {

/** What libtorch has. Also the truth of the kernels' second derivative. */
at::Tensor geglu_of_libtorch(const at::Tensor& x) {
  const auto halves = x.chunk(2, -1);
  return halves[0].mul(at::gelu(halves[1]));
}

/** given: the result's gradient, null for forward. result: of as many rows as x. */
template <class Number>
void run_geglu_of(const at::Tensor& x, const at::Tensor* given, at::Tensor& result, Kernels kernels) {
  const int64_t width = x.size(-1) / 2, rows = x.numel() / (2 * width);
  constexpr int64_t kPieceElements = 1 << 15;  // the cut depends on the shape alone
  const int64_t piece = std::max<int64_t>(1, kPieceElements / width);
  const GegluKernels<Number>& chosen = geglu_kernels<Number>(kernels, width);
  const auto* numbers = x.const_data_ptr<Number>();
  const auto* gradient = given ? given->const_data_ptr<Number>() : nullptr;
  auto* to = result.mutable_data_ptr<Number>();
  each_in_parallel((rows + piece - 1) / piece, [&](int64_t i) {
    const int64_t first = i * piece;
    const GegluRows<Number> part{numbers + first * 2 * width, gradient ? gradient + first * width : nullptr,
                         to + first * (gradient ? 2 : 1) * width, std::min(piece, rows - first), width};
    gradient ? chosen.backward(part) : chosen.forward(part);
  });
}

void run_geglu(const at::Tensor& x, const at::Tensor* gradient, at::Tensor& result, Kernels kernels) {
  x.scalar_type() == at::kFloat ? run_geglu_of<float>(x, gradient, result, kernels)
                                : run_geglu_of<c10::BFloat16>(x, gradient, result, kernels);
}

at::Tensor geglu_forward(const at::Tensor& x, Kernels kernels) {
  auto sizes = x.sizes().vec();
  sizes.back() /= 2;
  at::Tensor y = at::empty(sizes, x.options());
  run_geglu(x, nullptr, y, kernels);
  return y;
}

class GegluFunction : public torch::autograd::Function<GegluFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, int64_t kernels) {
    context->save_for_backward({x});
    context->saved_data["kernels"] = kernels;
    return geglu_forward(x, static_cast<Kernels>(kernels));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const at::Tensor x = context->get_saved_variables()[0];
    if (at::GradMode::is_enabled()) {  // the gradient is to have one itself
      return {torch::autograd::grad({geglu_of_libtorch(x)}, {x}, {gradients[0]}, true, true)[0], at::Tensor()};
    }
    const at::Tensor gradient = gradients[0].contiguous();
    at::Tensor dx = at::empty(x.sizes(), x.options());
    run_geglu(x, &gradient, dx, static_cast<Kernels>(context->saved_data["kernels"].toInt()));
    return {dx, at::Tensor()};
  }
};

/** Whether the kernels of our own can take this. What else libtorch takes, or refuses in its own words, is its. */
bool has_geglu_kernel(const at::Tensor& x) {
  return x.is_cpu() && x.layout() == at::kStrided && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.dim() > 0 &&
         x.numel() > 0 && x.size(-1) % 2 == 0 && x.size(-1) / 2 >= kLeastGegluWidth && x.is_contiguous() && !x._is_zerotensor() &&
         !x.is_neg();
}

/** x [..., 2·width] → [..., width]: the first half of each row times GELU of the other. */
at::Tensor geglu(const at::Tensor& x) {
  const Kernels kernels = chosen_kernels;
  if (kernels == Kernels::libtorch || !has_geglu_kernel(x)) return geglu_of_libtorch(x);
  if (at::GradMode::is_enabled() && x.requires_grad()) return GegluFunction::apply(x, static_cast<int64_t>(kernels));
  return geglu_forward(x, kernels);
}

/** Makes the operator known to the dispatcher. Once a process. */
void register_geglu() {
  // Never destroyed: libtorch's own statics may be gone by then.
  auto* library = new torch::Library(torch::Library::FRAGMENT, "spo", std::nullopt, __FILE__, __LINE__);
  library->def("geglu(Tensor input) -> Tensor", geglu);
}

}  // namespace
