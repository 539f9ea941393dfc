#pragma once
// Attention on a CPU: kernels of our own in the place of libtorch's, behind its operators, so that autograd is libtorch's as before.

#include <cmath>
#include <tuple>

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward_native.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_native.h>
#include <torch/library.h>

#include "attention-kernels.h"
#include "parallel.h"
#include "products.h"

namespace {

/** Of one head, x [b, heads, n, dims]. */
AttentionRows rows_of_head(const at::Tensor& x, int64_t sample, int64_t head) {
  const auto* first = x.const_data_ptr<float>() + sample * x.stride(0) + head * x.stride(1);
  return {const_cast<float*>(first), x.stride(2)};
}

/** Calls work(sample, head, memory) for each head, in parallel; it wants memory(sample 0, head 0) numbers. */
template <class Work>
void each_head(const at::Tensor& query, int64_t numbers, const Work& work) {
  const int64_t heads = query.size(1);
  each_in_parallel(query.size(0) * heads, numbers, [&](int64_t i, float* memory) { work(i / heads, i % heads, memory); });
}

/**
 * Most dimensions of a head, and fewest queries, with which the kernels of our own are faster than products of MKL: all but the smallest
 * where MKL leaves half of a processor's vectors unused.
 */
int64_t most_dims() { return chosen_products == Products::onednn ? 512 : 16; }
int64_t least_queries() { return chosen_products == Products::onednn ? 32 : 64; }

/** Whether the kernels of our own are to take this, of numbers of `dtype`. */
bool has_attention_kernel(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double dropout, bool is_causal,
                          const std::optional<at::Tensor>& mask, at::ScalarType dtype = at::kFloat) {
  const auto rows = [&](const at::Tensor& x) {
    return x.layout() == at::kStrided && x.scalar_type() == dtype && x.dim() == 4 && x.numel() > 0 && x.stride(3) == 1 &&
           !x._is_zerotensor() && !x.is_neg();
  };
  const bool masked = mask && mask->defined();  // autograd hands backward a tensor that is not defined
  return chosen_kernels != Kernels::libtorch && dropout == 0 && !is_causal && !masked && rows(query) && rows(key) && rows(value) &&
         query.size(2) >= least_queries() && query.size(3) <= most_dims() && key.sizes() == value.sizes() &&
         key.size(0) == query.size(0) && key.size(1) == query.size(1) && key.size(3) == query.size(3);
}

AttentionHead attention_head(const at::Tensor& query, const at::Tensor& key, std::optional<double> scale) {
  AttentionHead head{};
  head.queries = query.size(2);
  head.keys = key.size(2);
  head.dims = query.size(3);
  head.scale = static_cast<float>(scale.value_or(1 / std::sqrt(static_cast<double>(head.dims))));
  return head;
}

/** Whether numbers of bfloat16 are to be taken as float32: MKL, which libtorch asks, does the same, at half the speed. */
bool has_attention_kernel_of_bfloat16(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double dropout,
                                      bool is_causal, const std::optional<at::Tensor>& mask) {
  return chosen_products == Products::onednn && has_attention_kernel(query, key, value, dropout, is_causal, mask, at::kBFloat16);
}

/** [b, heads, n, dims], with a token's heads side by side. */
at::Tensor empty_heads(const at::Tensor& like) {
  return at::empty({like.size(0), like.size(2), like.size(1), like.size(3)}, like.options()).transpose(1, 2);
}

/** As `_scaled_dot_product_flash_attention_for_cpu`. */
std::tuple<at::Tensor, at::Tensor> attention_forward(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                                     double dropout, bool is_causal, const std::optional<at::Tensor>& mask,
                                                     std::optional<double> scale) {
  if (has_attention_kernel_of_bfloat16(query, key, value, dropout, is_causal, mask)) {
    const auto [out, log_sum] =
        attention_forward(query.to(at::kFloat), key.to(at::kFloat), value.to(at::kFloat), dropout, is_causal, mask, scale);
    return {out.to(at::kBFloat16), log_sum};
  }
  if (!has_attention_kernel(query, key, value, dropout, is_causal, mask)) {
    return at::native::_scaled_dot_product_flash_attention_cpu(query, key, value, dropout, is_causal, mask, scale);
  }
  const AttentionKernels& kernels = attention_kernels(chosen_kernels);
  const at::Tensor out = empty_heads(query);
  const at::Tensor log_sum = at::empty({query.size(0), query.size(1), query.size(2)}, query.options());
  const AttentionHead sizes = attention_head(query, key, scale);
  each_head(query, kernels.memory(sizes, false), [&](int64_t sample, int64_t h, float* memory) {
    AttentionHead head = sizes;
    head.query = rows_of_head(query, sample, h);
    head.key = rows_of_head(key, sample, h);
    head.value = rows_of_head(value, sample, h);
    head.out = rows_of_head(out, sample, h);
    head.log_sum = {log_sum.data_ptr<float>() + (sample * query.size(1) + h) * query.size(2), 1};
    kernels.attend(head, memory);
  });
  return {out, log_sum};
}

/** As `_scaled_dot_product_flash_attention_for_cpu_backward`. */
std::tuple<at::Tensor, at::Tensor, at::Tensor> attention_backward(const at::Tensor& given, const at::Tensor& query, const at::Tensor& key,
                                                                  const at::Tensor& value, const at::Tensor& out,
                                                                  const at::Tensor& log_sum, double dropout, bool is_causal,
                                                                  const std::optional<at::Tensor>& mask, std::optional<double> scale) {
  if (given.scalar_type() == at::kBFloat16 && out.scalar_type() == at::kBFloat16 &&
      has_attention_kernel_of_bfloat16(query, key, value, dropout, is_causal, mask)) {
    const auto [dq, dk, dv] = attention_backward(given.to(at::kFloat), query.to(at::kFloat), key.to(at::kFloat), value.to(at::kFloat),
                                                 out.to(at::kFloat), log_sum, dropout, is_causal, mask, scale);
    return {dq.to(at::kBFloat16), dk.to(at::kBFloat16), dv.to(at::kBFloat16)};
  }
  const bool fits = given.scalar_type() == at::kFloat && out.scalar_type() == at::kFloat && out.sizes() == query.sizes() &&
                    given.sizes() == query.sizes() && log_sum.scalar_type() == at::kFloat && log_sum.dim() == 3 &&
                    log_sum.sizes() == query.sizes().slice(0, 3);
  if (!fits || !has_attention_kernel(query, key, value, dropout, is_causal, mask)) {
    return at::native::_scaled_dot_product_flash_attention_cpu_backward(given, query, key, value, out, log_sum, dropout, is_causal, mask,
                                                                       scale);
  }
  const auto in_rows = [](const at::Tensor& x) { return x.stride(3) == 1 ? x : x.contiguous(); };
  const AttentionKernels& kernels = attention_kernels(chosen_kernels);
  const at::Tensor gradient = in_rows(given), result = in_rows(out);
  const at::Tensor dq = empty_heads(query), dk = empty_heads(key), dv = empty_heads(value);
  const AttentionHead sizes = attention_head(query, key, scale);
  each_head(query, kernels.memory(sizes, true), [&](int64_t sample, int64_t h, float* memory) {
    AttentionHead head = sizes;
    head.query = rows_of_head(query, sample, h);
    head.key = rows_of_head(key, sample, h);
    head.value = rows_of_head(value, sample, h);
    head.out = rows_of_head(result, sample, h);
    const auto* first = log_sum.const_data_ptr<float>() + sample * log_sum.stride(0) + h * log_sum.stride(1);
    head.log_sum = {const_cast<float*>(first), log_sum.stride(2)};
    head.gradient = rows_of_head(gradient, sample, h);
    head.query_gradient = rows_of_head(dq, sample, h);
    head.key_gradient = rows_of_head(dk, sample, h);
    head.value_gradient = rows_of_head(dv, sample, h);
    kernels.attend_backward(head, memory);
  });
  return {dq, dk, dv};
}

/** Puts the kernels behind libtorch's operators. Once a process. */
void register_attention() {
  class Silent : public c10::WarningHandler {
    void process(const c10::Warning&) override {}
  } silent;
  const c10::WarningUtils::WarningHandlerGuard guard(&silent);  // libtorch warns of a kernel that takes the place of another
  // Never destroyed: libtorch's own statics may be gone by then.
  auto* library = new torch::Library(torch::Library::IMPL, "aten", c10::DispatchKey::CPU, __FILE__, __LINE__);
  library->impl("_scaled_dot_product_flash_attention_for_cpu", TORCH_FN(attention_forward));
  library->impl("_scaled_dot_product_flash_attention_for_cpu_backward", TORCH_FN(attention_backward));
}

}  // namespace
