// NCCL beside gloo in the addon's process group, for tensors in GPUs' memory: operators of `_c10d_functional` on them then go by NCCL.
//
// A library of its own, because c10d's classes for NCCL are in libtorch_cuda, which the addon does without. It finds the group by its name
// in c10d's registry, which is the same in the whole process.
//
// Nothing here waits on the JavaScript thread. The collective itself is put into a GPU's queue by its operator; whether it is done is asked
// on a thread of its own, so that a process that is gone is noticed while the GPU waits for it.

#define USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "waiting-thread.h"

namespace {

/** NCCL of this process. Never destroyed: its threads may outlast the statics. */
struct Nccl {
  explicit Nccl(napi_env env) : thread(env, true) {}
  WaitingThread thread;
  c10::intrusive_ptr<c10d::ProcessGroupNCCL> backend;
  c10::DeviceIndex device = 0;
  std::atomic<bool> aborted{false};
};
Nccl* nccl = nullptr;

Nccl& opened() {
  if (!nccl || !nccl->backend) fail("NCCL is not open");
  return *nccl;
}

/** What c10d's watchdog found, or null. */
const char* fault_of(c10d::ProcessGroupNCCL& backend) {
  switch (backend.getError()) {
    case c10d::ErrorType::SUCCESS: return nullptr;
    case c10d::ErrorType::TIMEOUT: return "NCCL timed out";
    case c10d::ErrorType::COMM_ERROR: return "NCCL reports an error of its communicator";
    case c10d::ErrorType::REMOTE_ERROR: return "NCCL reports an error of another process";
  }
  return "NCCL reports an unknown error";
}

/**
 * open(group, device, milliseconds) → promise. group: name of an open process group. device: number of the GPU whose tensors are exchanged.
 * All processes connect here; without this, NCCL would do so at the first collective, on the JavaScript thread.
 */
napi_value open_nccl(napi_env env, const napi_value* values) {
  const auto name = to_string(env, values[0]);
  const auto device = static_cast<c10::DeviceIndex>(to_int(env, values[1]));
  const auto patience = std::chrono::milliseconds(to_int(env, values[2]));
  if (nccl && nccl->backend) fail("NCCL is open already");
  if (!nccl) nccl = new Nccl(env);
  return nccl->thread.promise(env, [=]() -> std::optional<std::string> {
    const auto group = c10d::resolve_process_group(name);
    const auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = patience;
    const auto store = c10::make_intrusive<c10d::PrefixStore>("nccl", group->getStore());
    auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, group->getRank(), group->getSize(), options);
    backend->eagerConnectSingleDevice(at::Device(at::kCUDA, device));
    group->setBackend(at::kCUDA, c10d::ProcessGroup::BackendType::NCCL, backend);
    nccl->device = device;
    nccl->backend = std::move(backend);
    return std::nullopt;
  });
}

/**
 * done(milliseconds) → promise: all that was put into the GPU's queue is done. Rejected with NCCL's fault, where it is aborted, and where
 * it takes longer.
 */
napi_value wait_done(napi_env env, const napi_value* values) {
  opened();
  const auto patience = std::chrono::milliseconds(to_int(env, values[0]));
  return nccl->thread.promise(env, [=]() -> std::optional<std::string> {
    const auto end = std::chrono::steady_clock::now() + patience;
    const c10::cuda::CUDAGuard guard(nccl->device);
    at::cuda::CUDAEvent event;
    event.record(c10::cuda::getCurrentCUDAStream());
    for (; !event.query(); std::this_thread::sleep_for(std::chrono::microseconds(100))) {
      if (nccl->aborted) fail("NCCL was aborted");
      if (const char* fault = fault_of(*nccl->backend)) fail(fault);
      if (std::chrono::steady_clock::now() >= end) fail("NCCL timed out");
    }
    // What was aborted leaves the queue as if it were done.
    if (nccl->aborted) fail("NCCL was aborted");
    if (const char* fault = fault_of(*nccl->backend)) fail(fault);
    return std::nullopt;
  });
}

/**
 * abort(): ends collectives that still wait for other processes, so that the GPU is free; what is open no longer keeps this process alive.
 */
napi_value abort_nccl(napi_env env, const napi_value*) {
  if (!nccl) return undefined(env);
  nccl->thread.release(env);
  if (nccl->backend && !nccl->aborted.exchange(true))
    // It may wait for the GPU itself.
    std::thread([backend = nccl->backend] {
      try {
        backend->abort();
      } catch (const std::exception&) {
        // The fault that led here is what is told.
      }
    }).detach();
  return undefined(env);
}

/** close() → promise: leaves NCCL, before the group is closed. */
napi_value close_nccl(napi_env env, const napi_value*) {
  opened();
  return nccl->thread.promise(env, []() -> std::optional<std::string> {
    nccl->backend->shutdown();
    nccl->backend.reset();
    return std::nullopt;
  });
}

template <auto function>
napi_value guarded(napi_env env, napi_callback_info info) {
  try {
    napi_value values[3];
    size_t count = 3;
    check(env, napi_get_cb_info(env, info, &count, values, nullptr, nullptr));
    return function(env, values);
  } catch (const PendingException&) {
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, reason(error).c_str());
  }
  return nullptr;
}

template <auto function>
void define(napi_env env, napi_value exports, const char* name) {
  napi_value value;
  check(env, napi_create_function(env, name, NAPI_AUTO_LENGTH, guarded<function>, nullptr, &value));
  check(env, napi_set_named_property(env, exports, name, value));
}

}  // namespace

NAPI_MODULE_INIT() {
  define<open_nccl>(env, exports, "open");
  define<wait_done>(env, exports, "done");
  define<abort_nccl>(env, exports, "abort");
  define<close_nccl>(env, exports, "close");
  return exports;
}
