#pragma once
// Matrix products on a CPU: oneDNN's in the place of MKL's, behind libtorch's operators, so that autograd is libtorch's.
// Of a processor that is not Intel's MKL uses vectors of half the width: there oneDNN takes half the time. Products of bfloat16 are
// oneDNN's in libtorch too, which writes the bias to memory first and has it added from there.

#include <array>
#include <string>
#include <string_view>

#include <ATen/CPUFunctions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "instruction-sets.h"

/** result = alpha·a·b + beta·result. Of libtorch, which exports it without a header in its package; null where a version has none. */
namespace at::native {
__attribute__((weak)) void mkldnn_matmul(const Tensor& a, const Tensor& b, const Tensor& result, float beta, float alpha);
/** x·weightᵀ + bias, and more as its words say; null likewise. */
__attribute__((weak)) Tensor mkldnn_linear_pointwise(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                                                     std::string_view then, c10::List<std::optional<c10::Scalar>> numbers,
                                                     std::optional<std::string_view> algorithm);
}

namespace {

/** Whose matrix products are used. */
enum class Products { mkl, onednn };
constexpr std::string_view kProductNames[] = {"mkl", "onednn"};

Products products_of_processor() {
#ifdef __x86_64__
  if (best_kernels() == Kernels::avx512 && !__builtin_cpu_is("intel") && at::native::mkldnn_matmul) return Products::onednn;
#endif
  return Products::mkl;
}

std::atomic<Products> chosen_products = products_of_processor();

void choose_products(std::string_view name) {
  if (name == "mkl") chosen_products = Products::mkl;
  else if (name == "onednn") chosen_products = at::native::mkldnn_matmul ? Products::onednn : Products::mkl;
  else fail("SPO_PRODUCTS must be mkl or onednn, not " + std::string(name));
}

/** As the environment says: SPO_PRODUCTS. */
void choose_products() {
  const char* name = std::getenv("SPO_PRODUCTS");
  if (name && *name) choose_products(std::string_view(name));
}

/** products(name | undefined) → the name of those in use. */
napi_value products(Call& call) {
  if (call.count > 0 && !is_nullish(call.env, call.values[0])) choose_products(to_string(call.env, call.values[0]));
  return from_string(call.env, std::string(kProductNames[static_cast<size_t>(chosen_products.load())]));
}

/** Multiplications below which a call of oneDNN costs what it saves, and the shortest side that fills its vectors. */
constexpr int64_t kLeastWork = 1 << 20, kLeastSide = 16;

bool is_matrix(const at::Tensor& x, int64_t dims, at::ScalarType dtype = at::kFloat) {
  return x.is_cpu() && x.layout() == at::kStrided && x.scalar_type() == dtype && x.dim() == dims && !x._is_zerotensor() && !x.is_neg();
}

/** Whether a call of oneDNN pays for these: [n, k]·[k, m], or [b, n, k]·[b, k, m]. What does not fit libtorch refuses in its own words. */
bool is_large_product(const at::Tensor& a, const at::Tensor& b, int64_t dims, at::ScalarType dtype) {
  if (!is_matrix(a, dims, dtype) || !is_matrix(b, dims, dtype)) return false;
  const int64_t rows = a.size(dims - 2), inner = a.size(dims - 1), columns = b.size(dims - 1);
  return inner == b.size(dims - 2) && (dims == 2 || a.size(0) == b.size(0)) && std::min({rows, inner, columns}) >= kLeastSide &&
         rows * inner * columns >= kLeastWork;
}

/** Whether oneDNN is to multiply these. */
bool is_for_onednn(const at::Tensor& a, const at::Tensor& b, int64_t dims = 2) {
  return chosen_products == Products::onednn && chosen_kernels != Kernels::libtorch && is_large_product(a, b, dims, at::kFloat);
}

/** Whether oneDNN is to add `bias` to each row of the product while it writes it. */
bool has_fused_bias(const at::Tensor& bias, const at::Tensor& a, const at::Tensor& b) {
  if (!at::native::mkldnn_linear_pointwise || bias.dim() != 1 || !bias.is_contiguous() || !a.is_contiguous()) return false;
  const at::ScalarType dtype = bias.scalar_type();
  const bool wanted = dtype == at::kBFloat16 ? chosen_kernels == Kernels::avx512 && is_large_product(a, b, 2, dtype) : is_for_onednn(a, b);
  return wanted && is_matrix(bias, 1, dtype) && bias.size(0) == b.size(1);
}

/** Whether the product may be written there: rows one after the other. */
bool holds_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  return is_matrix(out, 2) && out.size(0) == a.size(0) && out.size(1) == b.size(1) && out.is_contiguous() && !out.is_alias_of(a) &&
         !out.is_alias_of(b);
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  if (!is_for_onednn(a, b)) return at::cpu::mm(a, b);
  const at::Tensor result = at::empty({a.size(0), b.size(1)}, a.options());
  at::native::mkldnn_matmul(a, b, result, 0, 1);
  return result;
}

at::Tensor& product_out(const at::Tensor& a, const at::Tensor& b, at::Tensor& out) {
  if (!is_for_onednn(a, b) || !holds_product(out, a, b)) return at::cpu::mm_outf(a, b, out);
  at::native::mkldnn_matmul(a, b, out, 0, 1);
  return out;
}

at::Tensor batch_of_products(const at::Tensor& a, const at::Tensor& b) {
  if (!is_for_onednn(a, b, 3)) return at::cpu::bmm(a, b);
  const at::Tensor result = at::empty({a.size(0), a.size(1), b.size(2)}, a.options());
  at::native::mkldnn_matmul(a, b, result, 0, 1);
  return result;
}

/** self: numbers that can be repeated to the product's shape. */
bool is_summand(const at::Tensor& self, const at::Tensor& a, const at::Tensor& b) {
  const auto fits = [](int64_t size, int64_t wanted) { return size == wanted || size == 1; };
  if (self.dim() == 1) return is_matrix(self, 1) && fits(self.size(0), b.size(1));
  return is_matrix(self, 2) && fits(self.size(0), a.size(0)) && fits(self.size(1), b.size(1));
}

bool is_one(const at::Scalar& x) { return x.isIntegral(true) ? x.toLong() == 1 : x.isFloatingPoint() && x.toDouble() == 1; }

at::Tensor sum_with_product(const at::Tensor& self, const at::Tensor& a, const at::Tensor& b, const at::Scalar& beta,
                            const at::Scalar& alpha) {
  if (is_one(beta) && is_one(alpha) && has_fused_bias(self, a, b)) {
    return at::native::mkldnn_linear_pointwise(a, b.t(), self, "none", c10::List<std::optional<c10::Scalar>>(), "");
  }
  if (!is_for_onednn(a, b) || !is_summand(self, a, b) || !is_one(beta)) return at::cpu::addmm(self, a, b, beta, alpha);
  const at::Tensor result = at::empty({a.size(0), b.size(1)}, a.options());
  result.copy_(self);
  at::native::mkldnn_matmul(a, b, result, 1, alpha.toFloat());
  return result;
}

at::Tensor& sum_with_product_out(const at::Tensor& self, const at::Tensor& a, const at::Tensor& b, const at::Scalar& beta,
                                 const at::Scalar& alpha, at::Tensor& out) {
  if (!is_for_onednn(a, b) || !is_summand(self, a, b) || !is_one(beta) || !holds_product(out, a, b)) {
    return at::cpu::addmm_outf(self, a, b, beta, alpha, out);
  }
  if (!out.is_same(self)) out.copy_(self);
  at::native::mkldnn_matmul(a, b, out, 1, alpha.toFloat());
  return out;
}

at::Tensor& add_product(at::Tensor& self, const at::Tensor& a, const at::Tensor& b, const at::Scalar& beta, const at::Scalar& alpha) {
  if (!is_for_onednn(a, b) || !holds_product(self, a, b) || !is_one(beta)) return at::cpu::addmm_(self, a, b, beta, alpha);
  at::native::mkldnn_matmul(a, b, self, 1, alpha.toFloat());
  return self;
}

/** Puts oneDNN's products behind libtorch's operators. Once a process. */
void register_products() {
  class Silent : public c10::WarningHandler {
    void process(const c10::Warning&) override {}
  } silent;
  const c10::WarningUtils::WarningHandlerGuard guard(&silent);  // libtorch warns of a kernel that takes the place of another
  // Never destroyed: libtorch's own statics may be gone by then.
  auto* library = new torch::Library(torch::Library::IMPL, "aten", c10::DispatchKey::CPU, __FILE__, __LINE__);
  library->impl("mm", TORCH_FN(product));
  library->impl("mm.out", TORCH_FN(product_out));
  library->impl("bmm", TORCH_FN(batch_of_products));
  library->impl("addmm", TORCH_FN(sum_with_product));
  library->impl("addmm.out", TORCH_FN(sum_with_product_out));
  library->impl("addmm_", TORCH_FN(add_product));
}

}  // namespace
