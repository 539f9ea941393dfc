#pragma once
// Which instructions the kernels of our own use, and whether they are used at all.

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>

#include <c10/util/BFloat16.h>

#include "values.h"

namespace {

/** In rising order: a processor that has one has those before it. */
enum class Kernels { libtorch, plain, avx2, avx512 };
constexpr std::string_view kKernelNames[] = {"libtorch", "plain", "avx2", "avx512"};

Kernels best_kernels() {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Kernels::plain;
  for (const bool has : {__builtin_cpu_supports("avx512f"), __builtin_cpu_supports("avx512bw"), __builtin_cpu_supports("avx512dq"),
                         __builtin_cpu_supports("avx512vl")}) {
    if (!has) return Kernels::avx2;
  }
  return Kernels::avx512;
#else
  return Kernels::plain;
#endif
}

/** The kernels of that name, or the best ones that this processor has. */
Kernels kernels_named(std::string_view name) {
  for (size_t i = 0; i < std::size(kKernelNames); i++) {
    if (name == kKernelNames[i]) return std::min(static_cast<Kernels>(i), best_kernels());
  }
  fail("SPO_KERNELS must be libtorch, plain, avx2 or avx512, not " + std::string(name));
}

/** Where there are no wide vectors, libtorch's are as fast. */
std::atomic<Kernels> chosen_kernels = best_kernels() == Kernels::plain ? Kernels::libtorch : best_kernels();

/** As the environment says: SPO_KERNELS. */
void choose_kernels() {
  const char* name = std::getenv("SPO_KERNELS");
  if (name && *name) chosen_kernels = kernels_named(name);
}

/** kernels(name | undefined) → the name of those in use: at most what this processor has. */
napi_value kernels(Call& call) {
  if (call.count > 0 && !is_nullish(call.env, call.values[0])) chosen_kernels = kernels_named(to_string(call.env, call.values[0]));
  return from_string(call.env, std::string(kKernelNames[static_cast<size_t>(chosen_kernels.load())]));
}

}  // namespace

#define SPO_KERNELS "vectors.h"
#include "each-instruction-set.h"
