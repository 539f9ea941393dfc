#pragma once
// Threads, libraries, memory figures: the process, not its tensors.

#include <dlfcn.h>
#include <malloc.h>

#include <algorithm>
#include <thread>

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include "large-blocks.h"
#include "meta-book.h"
#include "values.h"

namespace {

/** threads(n | undefined) → threads within one operator. */
napi_value threads(Call& call) {
  if (call.count > 0 && !is_nullish(call.env, call.values[0])) {
    const auto count = to_int(call.env, call.values[0]);
    // OpenMP ends the process when it cannot start as many as it was told to.
    const int64_t most = 4 * std::max(1u, std::thread::hardware_concurrency());
    if (count < 1 || count > most) fail("threads must be from 1 to " + std::to_string(most));
    at::set_num_threads(static_cast<int>(count));
  }
  return from_number(call.env, at::get_num_threads());
}

/** loadLibrary(path): makes a backend (libtorch_cuda.so) known to the dispatcher. */
void load_library(Call& call) {
  const auto path = to_string(call.env, call.values[0]);
  if (!dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) fail(dlerror());
}

/** liveHandles() → handles in use. */
napi_value live_handles(Call& call) {
  return from_number(call.env, static_cast<double>(call.context.tensors.size()));
}

/** metaBook(open): opens the book of meta tensors' memory, or closes it → ArrayBuffer of its entries (float64), see `MetaBook::close`. */
napi_value meta_book(Call& call) {
  if (to_bool(call.env, call.values[0])) {
    MetaBook::open();
    return undefined(call.env);
  }
  const auto entries = MetaBook::close();
  void* data;
  napi_value buffer;
  check(call.env, napi_create_arraybuffer(call.env, entries.size() * sizeof(double), &data, &buffer));
  std::copy(entries.begin(), entries.end(), static_cast<double*>(data));
  return buffer;
}

/** adjustMemory(bytes): tells the garbage collector of memory that only it will free. */
napi_value adjust_memory(Call& call) {
  int64_t total;
  check(call.env, napi_adjust_external_memory(call.env, to_int(call.env, call.values[0]), &total));
  return from_number(call.env, static_cast<double>(total));
}

/** trimMemory(): gives the memory of freed tensors back to the system. */
void trim_memory(Call& call) {
  TransformedWeights::trim();
#ifdef __GLIBC__
  LargeBlocks::trim();
  malloc_trim(0);
#endif
}

napi_value facts(Call& call) {
  const std::vector<std::string> values{TORCH_VERSION, at::get_cpu_capability(), at::hasCUDA() ? "cuda" : "cpu"};
  return from_list(call.env, values, [&](const std::string& text) { return from_string(call.env, text); });
}

}  // namespace
