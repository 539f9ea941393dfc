#pragma once
// Linear maps and convolutions of weights in 8 bits, one scale a row. The weights in full stand in memory for one product at a time.

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace {

/** W = scale·codes of `type`. codes int8 [out, ...], scale float32 [out]. */
at::Tensor dequantized(const at::Tensor& codes, const at::Tensor& scale, at::ScalarType type) {
  at::DimVector rows(codes.dim(), 1);
  rows[0] = codes.size(0);
  at::Tensor weight = at::empty_like(codes, codes.options().dtype(type));
  return at::mul_out(weight, codes, scale.view(rows));
}

/** What products of x are computed in: autocast's type where it is on. */
at::ScalarType product_type(const at::Tensor& x) {
  const auto device = x.device().type();
  const bool casts = (device == at::kCPU || device == at::kCUDA) && at::autocast::is_autocast_enabled(device);
  return casts ? at::autocast::get_autocast_dtype(device) : x.scalar_type();
}

/** A layer whose weights do not learn: it keeps the codes for backward, and neither x nor the weights in full. */
class Int8Layer : public torch::autograd::Function<Int8Layer> {
 public:
  /** stride 0: a linear map. */
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& codes,
                            const at::Tensor& scale, const std::optional<at::Tensor>& bias, int64_t stride, int64_t padding) {
    context->save_for_backward({codes, scale});
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    context->saved_data["type"] = static_cast<int64_t>(x.scalar_type());
    if (stride > 0) context->saved_data["size"] = x.sizes().slice(2).vec();
    const at::Tensor weight = dequantized(codes, scale, product_type(x));
    return stride == 0 ? at::linear(x, weight, bias) : at::conv2d(x, weight, bias, {stride, stride}, {padding, padding});
  }

  /** By operators that have gradients themselves. */
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& given = gradients[0];
    const at::Tensor weight = dequantized(saved[0], saved[1], given.scalar_type());
    const int64_t stride = context->saved_data["stride"].toInt(), padding = context->saved_data["padding"].toInt();
    at::Tensor dx;
    if (stride == 0) {
      dx = at::matmul(given, weight);
    } else {
      at::DimVector further;  // pixels at the far ends that no place of the kernel reached
      const auto size = context->saved_data["size"].toIntVector();
      for (int64_t i = 0; i < 2; i++) further.push_back(size[i] - (given.size(2 + i) - 1) * stride + 2 * padding - weight.size(2 + i));
      dx = at::conv_transpose2d(given, weight, std::nullopt, {stride, stride}, {padding, padding}, further);
    }
    const auto type = static_cast<at::ScalarType>(context->saved_data["type"].toInt());
    return {dx.to(type), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/** x [..., in], codes int8 [out, in], scale float32 [out] → x·(scale·codes)ᵀ + bias [..., out]. Only x has a gradient. */
at::Tensor int8_linear(const at::Tensor& x, const at::Tensor& codes, const at::Tensor& scale, const std::optional<at::Tensor>& bias) {
  return Int8Layer::apply(x, codes, scale, bias, 0, 0);
}

/** x [b, in, h, w], codes int8 [out, in, k, k], scale float32 [out] → [b, out, h', w']. Only x has a gradient. */
at::Tensor int8_conv2d(const at::Tensor& x, const at::Tensor& codes, const at::Tensor& scale, const std::optional<at::Tensor>& bias,
                       int64_t stride, int64_t padding) {
  return Int8Layer::apply(x, codes, scale, bias, stride, padding);
}

/** Makes the operators known. Once a process. */
void register_int8_layers() {
  // Never destroyed: libtorch's own statics may be gone by then.
  auto* own = new torch::Library(torch::Library::FRAGMENT, "spo", std::nullopt, __FILE__, __LINE__);
  own->def("int8_linear(Tensor input, Tensor codes, Tensor scale, Tensor? bias) -> Tensor", int8_linear);
  own->def("int8_conv2d(Tensor input, Tensor codes, Tensor scale, Tensor? bias, int stride, int padding) -> Tensor", int8_conv2d);
}

}  // namespace
