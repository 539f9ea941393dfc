#pragma once
// Convolution 3×3 and 1×1 on a CPU: kernels of our own, and products, in the place of libtorch's, behind its operators, so that autograd is
// libtorch's as before.

#include <algorithm>
#include <array>
#include <tuple>

#include <ATen/autocast_mode.h>
#include <ATen/ops/convolution_backward_native.h>
#include <ATen/ops/convolution_native.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "parallel.h"
#include "winograd-gradients.h"
#include "winograd-weights.h"

namespace {

/** What a convolution is told beside its tensors. */
struct ConvolutionOptions {
  at::IntArrayRef stride, padding, dilation;
  bool transposed;
  int64_t groups;
};

/**
 * Pixels of a map below which the kernels of our own save nothing; and below which transforming large weights costs what it saves. The
 * latter holds where channels are twice as many, too, unless the weights' channels come last, as layers keep them. Weights so small are
 * transformed once.
 */
constexpr int64_t kLeastPixels = 16, kLeastPixelsOfLarge = 64;

int64_t least_pixels(const at::Tensor& weight) {
  const int64_t results = weight.size(0), channels = weight.size(1);
  if (is_small_kernel(channels, results)) return kLeastPixels;
  return weight.stride(1) == 1 ? kLeastPixelsOfLarge : std::max({kLeastPixelsOfLarge, channels / 2, results / 2});
}

bool are_plain(const at::Tensor& x, const at::Tensor& weight) {
  const auto plain = [](const at::Tensor& t) {
    return t.is_cpu() && t.layout() == at::kStrided && t.scalar_type() == at::kFloat && t.dim() == 4 && t.numel() > 0 &&
           !t._is_zerotensor() && !t.is_neg();
  };
  return plain(x) && plain(weight) && weight.size(1) == x.size(1);
}

bool are_all(at::IntArrayRef values, int64_t wanted) {
  return !values.empty() && std::all_of(values.begin(), values.end(), [&](int64_t value) { return value == wanted; });
}

bool is_channels_last(const at::Tensor& x) {
  return x.suggest_memory_format() == at::MemoryFormat::ChannelsLast && x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

/** Whether the kernels of our own are to take this. By the map alone, not the batch, whose size must not show in the numbers. */
bool has_winograd_kernel(const at::Tensor& x, const at::Tensor& weight, const ConvolutionOptions& options) {
  return chosen_kernels != Kernels::libtorch && !options.transposed && options.groups == 1 && are_all(options.stride, 1) &&
         are_all(options.padding, 1) && are_all(options.dilation, 1) && are_plain(x, weight) && weight.size(2) == 3 &&
         weight.size(3) == 3 && x.size(2) * x.size(3) >= least_pixels(weight) && is_channels_last(x);
}

/** Whether this is a product of each pixel alone, of maps whose pixels are rows of numbers in memory. */
bool is_pixelwise(const at::Tensor& x, const at::Tensor& weight, const ConvolutionOptions& options) {
  return are_plain(x, weight) && chosen_kernels != Kernels::libtorch && !options.transposed && options.groups == 1 &&
         are_all(options.stride, 1) && are_all(options.padding, 0) && are_all(options.dilation, 1) && weight.size(2) == 1 &&
         weight.size(3) == 1 && is_channels_last(x);
}

/** [b, c, h, w] in channels-last order → its pixels [b·h·w, c]. */
at::Tensor pixels_of(const at::Tensor& x) { return x.permute({0, 2, 3, 1}).view({-1, x.size(1)}); }

/** [b, channels, h, w] of pixels · by + bias, channels-last. by [channels of x, channels] */
at::Tensor multiply_pixels(const at::Tensor& x, const at::Tensor& by, const std::optional<at::Tensor>& bias) {
  at::Tensor y = at::empty({x.size(0), by.size(1), x.size(2), x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
  at::Tensor pixels = pixels_of(y);
  if (bias && bias->defined()) at::addmm_out(pixels, *bias, pixels_of(x), by);
  else at::mm_out(pixels, pixels_of(x), by);
  return y;
}

/** Whether so many channels fill the vectors. */
bool fills_vectors(int64_t channels) { return channels % winograd_kernels<4>(chosen_kernels).lanes == 0; }

/** Numbers of transformed weights that stay in a processor's cache. Larger ones are transformed and used part by part. */
constexpr int64_t kMostTransformed = 22 << 18;

int64_t tiles_of(int64_t height, int64_t width, int64_t side) { return (height + side - 1) / side * ((width + side - 1) / side); }

/** Whether tiles of 4×4 results cost less than of 2×2: their places are more, for which weights are transformed. By the map alone. */
bool has_large_tiles(int64_t height, int64_t width, bool small_kernel) {
  const int64_t of_weights = small_kernel ? 1 : 32;  // what a place of them costs, in products of a tile
  return 36 * (tiles_of(height, width, 4) + of_weights) < 16 * (tiles_of(height, width, 2) + of_weights);
}

const WinogradKernels& kernels_for(const at::Tensor& x, const WinogradWeights& weights) {
  const bool large = has_large_tiles(x.size(2), x.size(3), is_small_kernel(weights.channels, weights.results));
  return large ? winograd_kernels<6>(chosen_kernels) : winograd_kernels<4>(chosen_kernels);
}

/** x in channels-last order → [samples, results, times·height, times·width] in the same: of x as it is, or doubled by repetition. */
at::Tensor convolve_by_winograd(const WinogradKernels& kernels, int64_t times, const at::Tensor& x, const at::Tensor& weight,
                                const WinogradWeights& weights, const float* bias) {
  const int64_t shape[] = {x.size(0), weights.results, times * x.size(2), times * x.size(3)};
  at::Tensor y = at::empty(shape, x.options(), at::MemoryFormat::ChannelsLast);
  WinogradMaps maps{x.const_data_ptr<float>(), y.size(2), y.size(3), weights.channels, weights.results, nullptr, bias,
                    y.mutable_data_ptr<float>(), weights.results};
  const int64_t tiles = x.size(0) * tiles_of(maps.height, maps.width, kernels.side);
  constexpr int64_t kNumbers = 1 << 17, kMost = 96;  // pixels and products stay in a core's cache
  const int64_t piece =
      std::clamp<int64_t>(kNumbers / kernels.places / maps.channels / kernels.rows, 3, kMost / kernels.rows) * kernels.rows;
  const int64_t pieces = (tiles + piece - 1) / piece, memory_of_piece = kernels.memory(maps.channels, piece);
  const int64_t block = kernels.places * maps.channels * kernels.lanes, blocks = (maps.results + kernels.lanes - 1) / kernels.lanes;
  const int64_t most = std::max<int64_t>(2, kMostTransformed / block);
  if (blocks <= most) {
    const at::Tensor transformed = TransformedWeights::of(weight, weights, kernels);
    maps.weights = transformed.const_data_ptr<float>();
    each_in_parallel(pieces, memory_of_piece, [&](int64_t i, float* memory) {
      kernels.convolve(maps, i * piece, std::min(piece, tiles - i * piece), memory);
    });
    return y;
  }
  const int64_t threads = at::get_num_threads(), turns = ((blocks + most - 1) / most + threads - 1) / threads * threads;
  const int64_t part = ((blocks + turns - 1) / turns + 1) / 2 * 2;
  each_in_parallel((blocks + part - 1) / part, [&](int64_t i) {
    const int64_t first = i * part, count = std::min(part, blocks - first), result = first * kernels.lanes;
    const at::Tensor numbers = at::empty({count * block + memory_of_piece}, x.options());
    auto* transformed = numbers.mutable_data_ptr<float>();
    for (int64_t j = 0; j < count; j++) kernels.weights_of_block(weights, result + j * kernels.lanes, transformed + j * block);
    WinogradMaps of_part = maps;
    of_part.results = std::min(count * kernels.lanes, maps.results - result);
    of_part.weights = transformed;
    of_part.bias = bias ? bias + result : nullptr;
    of_part.y = maps.y + result;
    for (int64_t at = 0; at < tiles; at += piece) {
      kernels.convolve(of_part, at, std::min(piece, tiles - at), transformed + count * block);
    }
  });
  return y;
}

WinogradWeights weights_of(const at::Tensor& weight) {
  return {weight.const_data_ptr<float>(), weight.size(0),   weight.size(1),  weight.stride(0),
          weight.stride(1),               weight.stride(2), weight.stride(3)};
}

bool is_plain_bias(const std::optional<at::Tensor>& bias, const at::Tensor& weight) {
  return !bias || !bias->defined() || (bias->is_cpu() && bias->scalar_type() == at::kFloat && bias->is_contiguous() && bias->dim() == 1 &&
                                       bias->numel() == weight.size(0));
}

const float* numbers_of(const std::optional<at::Tensor>& bias) {
  return bias && bias->defined() ? bias->const_data_ptr<float>() : nullptr;
}

/** As `convolution`. */
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, at::IntArrayRef stride,
                       at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed, at::IntArrayRef output_padding,
                       int64_t groups) {
  if (is_pixelwise(x, weight, {stride, padding, dilation, transposed, groups}) && is_plain_bias(bias, weight)) {
    return multiply_pixels(x, weight.flatten(1).t(), bias);
  }
  const bool ours = has_winograd_kernel(x, weight, {stride, padding, dilation, transposed, groups}) && fills_vectors(x.size(1));
  if (!ours || !is_plain_bias(bias, weight)) {
    return at::native::convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups);
  }
  const WinogradWeights weights = weights_of(weight);
  return convolve_by_winograd(kernels_for(x, weights), 1, x, weight, weights, numbers_of(bias));
}

/** The gradient of x: the convolution of y's by the kernel turned round, its axes of channels swapped. */
at::Tensor turned_convolution(const at::Tensor& gradient, const at::Tensor& weight) {
  const auto* last = weight.const_data_ptr<float>() + 2 * (weight.stride(2) + weight.stride(3));
  const WinogradWeights turned{last,
                               weight.size(1),
                               weight.size(0),
                               weight.stride(1),
                               weight.stride(0),
                               -weight.stride(2),
                               -weight.stride(3)};
  return convolve_by_winograd(kernels_for(gradient, turned), 1, gradient, weight, turned, nullptr);
}

/** The gradient of the weight, in channels-last order. gradient, x: in channels-last order; channels and results fill the vectors. */
at::Tensor gradient_of_kernel(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight) {
  const bool large = has_large_tiles(x.size(2), x.size(3), true);
  const WinogradGradientKernels& kernels =
      large ? winograd_gradient_kernels<6>(chosen_kernels) : winograd_gradient_kernels<4>(chosen_kernels);
  at::Tensor of_kernel = at::empty(weight.sizes(), weight.options(), at::MemoryFormat::ChannelsLast);
  const WinogradGradient given{x.const_data_ptr<float>(), x.size(0),      x.size(2), x.size(3), x.size(1), weight.size(0),
                               gradient.const_data_ptr<float>(), of_kernel.mutable_data_ptr<float>()};
  each_in_parallel((given.results + kernels.results - 1) / kernels.results, kernels.memory(given.channels), [&](int64_t i, float* memory) {
    const int64_t first = i * kernels.results;
    kernels.gradient(given, first, std::min(kernels.results, given.results - first), memory);
  });
  return of_kernel;
}

/** As `convolution_backward`. */
std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(const at::Tensor& given, const at::Tensor& x, const at::Tensor& weight,
                                                                    at::OptionalIntArrayRef bias_sizes, at::IntArrayRef stride,
                                                                    at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
                                                                    at::IntArrayRef output_padding, int64_t groups,
                                                                    std::array<bool, 3> wanted) {
  const auto by_libtorch = [&] {
    return at::native::convolution_backward(given, x, weight, bias_sizes, stride, padding, dilation, transposed, output_padding, groups,
                                            wanted);
  };
  const ConvolutionOptions options{stride, padding, dilation, transposed, groups};
  const bool plain = given.is_cpu() && given.scalar_type() == at::kFloat && given.layout() == at::kStrided;
  const bool pixelwise = plain && is_pixelwise(x, weight, options);
  const bool winograd = plain && !pixelwise && fills_vectors(weight.size(0)) && has_winograd_kernel(x, weight, options);
  const bool of_kernel = winograd && wanted[1] && fills_vectors(x.size(1)) && is_small_kernel(x.size(1), weight.size(0));
  if (!pixelwise && !of_kernel && !(winograd && wanted[0])) return by_libtorch();
  const at::Tensor pixels_first = given.contiguous(at::MemoryFormat::ChannelsLast);
  std::array<at::Tensor, 3> found;
  if (wanted[0]) {
    found[0] = pixelwise ? multiply_pixels(pixels_first, weight.flatten(1), std::nullopt) : turned_convolution(pixels_first, weight);
  }
  if (of_kernel || pixelwise) {
    if (of_kernel) found[1] = gradient_of_kernel(pixels_first, x, weight);
    else if (wanted[1]) found[1] = at::mm(pixels_of(pixels_first).t(), pixels_of(x)).view(weight.sizes());
    if (wanted[2]) found[2] = given.sum({0, 2, 3});
  } else if (wanted[1] || wanted[2]) {
    wanted[0] = false;
    std::tie(std::ignore, found[1], found[2]) = by_libtorch();
  }
  return {found[0], found[1], found[2]};
}

/** Convolution 3×3 of x after each of its pixels has been repeated along both axes. */
class DoubledConvolution : public torch::autograd::Function<DoubledConvolution> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias) {
    context->save_for_backward({x, weight});
    context->saved_data["biased"] = bias && bias->defined();
    return convolve_by_winograd(winograd_kernels<3>(chosen_kernels), 2, x, weight, weights_of(weight), numbers_of(bias));
  }

  /** By operators that have gradients themselves. */
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const bool biased = context->saved_data["biased"].toBool();
    const int64_t size[] = {2 * x.size(2), 2 * x.size(3)}, results[] = {weight.size(0)};
    const at::Tensor doubled = at::upsample_nearest2d(x, size);
    auto [dx, dw, db] = at::convolution_backward(
        gradients[0], doubled, weight, biased ? at::OptionalIntArrayRef(results) : at::OptionalIntArrayRef(), {1, 1}, {1, 1}, {1, 1}, false,
        {0, 0}, 1,
        {context->needs_input_grad(0), context->needs_input_grad(1), biased && context->needs_input_grad(2)});
    if (dx.defined()) dx = at::upsample_nearest2d_backward(dx, size, x.sizes());
    return {dx, dw, db};
  }
};

/** x [b, channels, h, w], weight [results, channels, 3, 3] → [b, results, 2h, 2w]: each pixel repeated along both axes, then convolved. */
at::Tensor doubled_convolution(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  const int64_t one[] = {1, 1};
  const bool ours = x.is_cpu() && !at::autocast::is_autocast_enabled(at::kCPU) &&
                    has_winograd_kernel(x, weight, {one, one, one, false, 1}) && fills_vectors(x.size(1)) && is_plain_bias(bias, weight);
  if (!ours) {
    const at::Tensor doubled = at::upsample_nearest2d(x, at::IntArrayRef{2 * x.size(2), 2 * x.size(3)});
    return at::conv2d(doubled, weight, bias, one, one);
  }
  const bool learns = at::GradMode::is_enabled() &&
                      (x.requires_grad() || weight.requires_grad() || (bias && bias->defined() && bias->requires_grad()));
  if (learns) return DoubledConvolution::apply(x, weight, bias);
  return convolve_by_winograd(winograd_kernels<3>(chosen_kernels), 2, x, weight, weights_of(weight), numbers_of(bias));
}

/** Puts the kernels behind libtorch's operators, and makes the one of our own known. Once a process. */
void register_convolution() {
  // Never destroyed: libtorch's own statics may be gone by then.
  auto* library = new torch::Library(torch::Library::IMPL, "aten", c10::DispatchKey::CPU, __FILE__, __LINE__);
  library->impl("convolution", TORCH_FN(convolution));
  library->impl("convolution_backward", TORCH_FN(convolution_backward));
  auto* own = new torch::Library(torch::Library::FRAGMENT, "spo", std::nullopt, __FILE__, __LINE__);
  own->def("doubled_conv2d(Tensor input, Tensor weight, Tensor? bias) -> Tensor", doubled_convolution);
}

}  // namespace
