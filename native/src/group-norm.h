#pragma once
// GroupNorm, with SiLU or without, as an operator with a gradient: kernels of our own where channels come last in memory.

#include <array>
#include <cmath>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "group-norm-kernels.h"
#include "parallel.h"

namespace {

/** What libtorch has. Also the truth of the kernels' second derivative. */
at::Tensor group_norm_of_libtorch(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps,
                                  bool silu) {
  at::Tensor y = at::group_norm(x, groups, weight, bias, eps);
  return silu ? at::silu(y) : y;
}

/** The maps of one call, cut into pieces of which a thread takes one at a time. The cut depends on the shape alone, and so do all sums. */
class GroupNormMaps {
 public:
  GroupNormMaps(const at::Tensor& x, int64_t groups)
      : images(x.size(0)), channels(x.size(1)), pixels(x.size(2) * x.size(3)), groups(groups), width(channels / groups) {
    piece_ = std::max<int64_t>(1, kPieceElements / (channels * kBlockRows)) * kBlockRows;
    pieces = (pixels + piece_ - 1) / piece_;
  }

  /** Runs over images in parallel where each is one piece, else over the pieces of one image after the other. */
  template <class Image>
  void each_image(const Image& image) const {
    if (pieces > 1) for (int64_t n = 0; n < images; n++) image(n);
    else each_in_parallel(images, image);
  }
  /** run(piece, its first pixel, its number of pixels). */
  template <class Run>
  void each_piece(const Run& run) const {
    each_in_parallel(pieces, [&](int64_t i) { run(i, i * piece_, std::min(piece_, pixels - i * piece_)); });
  }

  const int64_t images, channels, pixels, groups, width;
  int64_t pieces;

 private:
  static constexpr int64_t kPieceElements = 1 << 17;  // fits a core's cache
  int64_t piece_;
};

/** Two sums a channel of each piece, [pieces, 2, channels]; adds all up into those of the first. */
void add_up_pieces(std::vector<double>& sums, int64_t channels) {
  for (size_t from = 2 * channels; from < sums.size(); from += 2 * channels) {
    for (int64_t i = 0; i < 2 * channels; i++) sums[i] += sums[from + i];
  }
}

/** The mean and 1/√(variance + eps) of a group, from sums over `pixels` of x less `shift`, a channel. */
std::pair<double, double> moments_of_group(const GroupNormMaps& maps, const double* sums, const double* squares, const float* shift,
                                           double eps) {
  double mean = 0;
  for (int64_t c = 0; c < maps.width; c++) mean += shift[c] + sums[c] / maps.pixels;
  mean /= maps.width;
  double variance = 0;
  for (int64_t c = 0; c < maps.width; c++) {
    const double away = sums[c] / maps.pixels;
    const double between = shift[c] + away - mean;
    variance += std::max(squares[c] / maps.pixels - away * away, 0.0) + between * between;
  }
  return {mean, 1 / std::sqrt(variance / maps.width + eps)};
}

template <class Number>
void group_norm_rows_forward(const GroupNormMaps& maps, const GroupNormKernels<Number>& kernels, const Number* x, const float* weight,
                             const float* bias, double eps, Number* y, float* means, float* rstds) {
  maps.each_image([&](int64_t n) {
    const Number* image = x + n * maps.pixels * maps.channels;
    Number* result = y + n * maps.pixels * maps.channels;
    std::vector<double> sums(2 * maps.channels * maps.pieces);
    std::vector<float> mean(image, image + maps.channels);  // at first a number near x: its first pixel
    std::vector<float> scale(maps.channels);
    const GroupNormChannels of{mean.data(), scale.data(), bias, nullptr, nullptr};
    const auto part = [&](int64_t from, int64_t rows) {
      return GroupNormPixels<Number>{image + from * maps.channels, nullptr, result + from * maps.channels, maps.channels, rows};
    };
    maps.each_piece([&](int64_t i, int64_t from, int64_t rows) {
      double* sum = &sums[2 * maps.channels * i];
      kernels.moments(part(from, rows), of, sum, sum + maps.channels);
    });
    add_up_pieces(sums, maps.channels);
    for (int64_t g = 0; g < maps.groups; g++) {
      const int64_t first = g * maps.width;
      const auto [m, r] = moments_of_group(maps, &sums[first], &sums[maps.channels + first], &mean[first], eps);
      means[n * maps.groups + g] = static_cast<float>(m);
      rstds[n * maps.groups + g] = static_cast<float>(r);
      for (int64_t c = first; c < first + maps.width; c++) {
        mean[c] = static_cast<float>(m);
        scale[c] = static_cast<float>(r) * weight[c];
      }
    }
    maps.each_piece([&](int64_t, int64_t from, int64_t rows) { kernels.normalise(part(from, rows), of); });
  });
}

/** gradients: of bias and weight by this image alone, [images, 2, channels]. */
template <class Number>
void group_norm_rows_backward(const GroupNormMaps& maps, const GroupNormKernels<Number>& kernels, const Number* x, const Number* gradient,
                              const float* weight, const float* bias, const float* means, const float* rstds, Number* dx,
                              double* gradients) {
  maps.each_image([&](int64_t n) {
    const int64_t start = n * maps.pixels * maps.channels;
    std::vector<double> sums(2 * maps.channels * maps.pieces);
    std::vector<float> numbers(4 * maps.channels);
    float* mean = numbers.data();
    float* scale = mean + maps.channels;
    float* slope = scale + maps.channels;
    float* constant = slope + maps.channels;
    for (int64_t c = 0; c < maps.channels; c++) {
      mean[c] = means[n * maps.groups + c / maps.width];
      scale[c] = rstds[n * maps.groups + c / maps.width] * weight[c];
    }
    const GroupNormChannels of{mean, scale, bias, slope, constant};
    const auto part = [&](int64_t from, int64_t rows) {
      const int64_t at = start + from * maps.channels;
      return GroupNormPixels<Number>{x + at, gradient + at, dx + at, maps.channels, rows};
    };
    maps.each_piece([&](int64_t i, int64_t from, int64_t rows) {
      double* sum = &sums[2 * maps.channels * i];
      kernels.gradient_sums(part(from, rows), of, sum, sum + maps.channels);
    });
    add_up_pieces(sums, maps.channels);
    for (int64_t g = 0; g < maps.groups; g++) {
      const double rstd = rstds[n * maps.groups + g];
      double sum = 0, product = 0;
      for (int64_t c = g * maps.width; c < (g + 1) * maps.width; c++) {
        gradients[2 * maps.channels * n + c] = sums[c];
        gradients[2 * maps.channels * n + maps.channels + c] = rstd * sums[maps.channels + c];
        sum += weight[c] * sums[c];
        product += weight[c] * sums[maps.channels + c];
      }
      const double count = static_cast<double>(maps.width * maps.pixels);
      std::fill_n(constant + g * maps.width, maps.width, static_cast<float>(rstd * sum / count));
      std::fill_n(slope + g * maps.width, maps.width, static_cast<float>(rstd * rstd * rstd * product / count));
    }
    maps.each_piece([&](int64_t, int64_t from, int64_t rows) { kernels.differentiate(part(from, rows), of); });
  });
}

template <class Number>
const GroupNormKernels<Number>& group_norm_kernels(Kernels kernels, int64_t channels, bool silu) {
  return silu ? group_norm_kernels<true, Number>(kernels, channels) : group_norm_kernels<false, Number>(kernels, channels);
}

/** → y, and mean and 1/√(variance + eps) [images, groups], float32. */
std::array<at::Tensor, 3> group_norm_forward(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias,
                                             double eps, bool silu, Kernels kernels) {
  const GroupNormMaps maps(x, groups);
  const auto scale = weight.to(at::kFloat).contiguous(), shift = bias.to(at::kFloat).contiguous();
  at::Tensor y = at::empty(x.sizes(), x.options(), at::MemoryFormat::ChannelsLast);
  at::Tensor mean = at::empty({maps.images, groups}, x.options().dtype(at::kFloat)), rstd = at::empty_like(mean);
  const auto run = [&]<class Number>(Number) {
    group_norm_rows_forward(maps, group_norm_kernels<Number>(kernels, maps.channels, silu), x.const_data_ptr<Number>(),
                            scale.const_data_ptr<float>(), shift.const_data_ptr<float>(), eps, y.mutable_data_ptr<Number>(),
                            mean.mutable_data_ptr<float>(), rstd.mutable_data_ptr<float>());
  };
  x.scalar_type() == at::kFloat ? run(float{}) : run(c10::BFloat16{});
  return {y, mean, rstd};
}

/** → gradients of x, and where something there `learns`, of weight and bias. */
std::array<at::Tensor, 3> group_norm_backward(const at::Tensor& given, const at::Tensor& x, const at::Tensor& weight,
                                              const at::Tensor& bias, const at::Tensor& mean, const at::Tensor& rstd, bool silu,
                                              bool learns, Kernels kernels) {
  const GroupNormMaps maps(x, mean.size(1));
  const auto scale = weight.to(at::kFloat).contiguous(), shift = bias.to(at::kFloat).contiguous();
  const at::Tensor gradient = given.contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor dx = at::empty(x.sizes(), x.options(), at::MemoryFormat::ChannelsLast);
  at::Tensor sums = at::empty({maps.images, 2, maps.channels}, x.options().dtype(at::kDouble));
  const auto run = [&]<class Number>(Number) {
    group_norm_rows_backward(maps, group_norm_kernels<Number>(kernels, maps.channels, silu), x.const_data_ptr<Number>(),
                             gradient.const_data_ptr<Number>(), scale.const_data_ptr<float>(), shift.const_data_ptr<float>(),
                             mean.const_data_ptr<float>(), rstd.const_data_ptr<float>(), dx.mutable_data_ptr<Number>(),
                             sums.mutable_data_ptr<double>());
  };
  x.scalar_type() == at::kFloat ? run(float{}) : run(c10::BFloat16{});
  if (!learns) return {dx, at::Tensor(), at::Tensor()};
  const at::Tensor total = sums.sum(0);
  return {dx, total[1].to(weight.scalar_type()), total[0].to(bias.scalar_type())};
}

class GroupNormFunction : public torch::autograd::Function<GroupNormFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, int64_t groups, double eps, bool silu, int64_t kernels) {
    const auto [y, mean, rstd] = group_norm_forward(x, groups, weight, bias, eps, silu, static_cast<Kernels>(kernels));
    context->save_for_backward({x, weight, bias, mean, rstd});
    context->saved_data["groups"] = groups;
    context->saved_data["eps"] = eps;
    context->saved_data["silu"] = silu;
    context->saved_data["kernels"] = kernels;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const bool silu = context->saved_data["silu"].toBool();
    torch::autograd::variable_list result(7);
    if (at::GradMode::is_enabled()) {  // the gradient is to have one itself
      differentiably(*context, saved, gradients[0], silu, result);
      return result;
    }
    const auto kernels = static_cast<Kernels>(context->saved_data["kernels"].toInt());
    const bool learns = context->needs_input_grad(1) || context->needs_input_grad(2);
    const auto found = group_norm_backward(gradients[0], saved[0], saved[1], saved[2], saved[3], saved[4], silu, learns, kernels);
    std::copy(found.begin(), found.end(), result.begin());
    return result;
  }

 private:
  static void differentiably(torch::autograd::AutogradContext& context, const torch::autograd::variable_list& saved,
                             const at::Tensor& gradient, bool silu, torch::autograd::variable_list& result) {
    const int64_t groups = context.saved_data["groups"].toInt();
    const double eps = context.saved_data["eps"].toDouble();
    const auto y = group_norm_of_libtorch(saved[0], groups, saved[1], saved[2], eps, silu);
    torch::autograd::variable_list inputs;
    for (size_t i = 0; i < 3; i++) if (saved[i].requires_grad()) inputs.push_back(saved[i]);
    const auto found = torch::autograd::grad({y}, inputs, {gradient}, true, true);
    for (size_t i = 0, next = 0; i < 3; i++) if (saved[i].requires_grad()) result[i] = found[next++];
  }
};

/** Whether the kernels of our own can take this. What else libtorch takes, or refuses in its own words, is its. */
bool has_group_norm_kernel(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias) {
  const auto numbers = [&](const at::Tensor& t) {
    return t.defined() && t.is_cpu() && t.layout() == at::kStrided && t.dim() == 1 && t.size(0) == x.size(1) && !t._is_zerotensor() &&
           !t.is_neg() && (t.scalar_type() == at::kFloat || t.scalar_type() == x.scalar_type());
  };
  return x.is_cpu() && x.layout() == at::kStrided && x.dim() == 4 && x.numel() > 0 && !x._is_zerotensor() && !x.is_neg() &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.size(1) >= kLeastChannels && groups > 0 &&
         x.size(1) % groups == 0 && x.suggest_memory_format() == at::MemoryFormat::ChannelsLast &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast) && numbers(weight) && numbers(bias) &&
         weight.scalar_type() == bias.scalar_type();
}

/** GroupNorm of x [b, channels, h, w] and, where `silu`, SiLU of it. */
at::Tensor group_norm(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu) {
  const Kernels kernels = chosen_kernels;
  if (kernels == Kernels::libtorch || !has_group_norm_kernel(x, groups, weight, bias)) {
    return group_norm_of_libtorch(x, groups, weight, bias, eps, silu);
  }
  const bool learns = at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad() || bias.requires_grad());
  if (learns) return GroupNormFunction::apply(x, weight, bias, groups, eps, silu, static_cast<int64_t>(kernels));
  return group_norm_forward(x, groups, weight, bias, eps, silu, kernels)[0];
}

/** Makes the operator known to the dispatcher. Once a process. */
void register_group_norm() {
  // Never destroyed: libtorch's own statics may be gone by then.
  auto* library = new torch::Library(torch::Library::FRAGMENT, "spo", std::nullopt, __FILE__, __LINE__);
  library->def("group_norm(Tensor input, int num_groups, Tensor weight, Tensor bias, float eps, bool silu) -> Tensor", group_norm);
}

}  // namespace
