#pragma once
// Several processes that compute together: c10d's store and its process group over gloo. The collectives themselves are operators
// (`_c10d_functional`), called like all others; here is what has no operator, and waiting for them away from the JavaScript thread.
//
// gloo's headers are not in libtorch's package. `declarations/` stands in for them, and fits the version that is named here alone.

#include <torch/version.h>

#include "waiting-thread.h"

#if TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR == 15
#define SPO_PROCESS_GROUPS 1
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/Functional.hpp>
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#endif

namespace {

/** processGroupFault() → why this addon has no process groups, or null. */
napi_value process_group_fault(Call& call) {
#ifdef SPO_PROCESS_GROUPS
  napi_value null;
  check(call.env, napi_get_null(call.env, &null));
  return null;
#else
  return from_string(call.env, "the addon is compiled against libtorch " TORCH_VERSION "; processes work together with 2.15");
#endif
}

#ifdef SPO_PROCESS_GROUPS

/** The process group of this process. Never destroyed: gloo's threads may outlast the statics. */
struct ProcessGroupState {
  explicit ProcessGroupState(napi_env env) : thread(env, true), heart(env, false), connecting(env, false) {}
  WaitingThread thread;
  WaitingThread heart;
  WaitingThread connecting;
  std::shared_ptr<std::atomic<bool>> open;
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroup> group;
  std::string name;
};
ProcessGroupState* processes = nullptr;

c10d::Store& opened_store() {
  if (!processes || !processes->store) fail("no store is open");
  return *processes->store;
}

/** openStore(host, port, serves, milliseconds, prefix) → promise. serves: this process holds the store. */
napi_value open_store(Call& call) {
  const auto host = to_string(call.env, call.values[0]);
  const auto port = to_int(call.env, call.values[1]);
  const bool serves = to_bool(call.env, call.values[2]);
  const auto patience = std::chrono::milliseconds(to_int(call.env, call.values[3]));
  const auto prefix = to_string(call.env, call.values[4]);
  if (port < 1 || port > 65535) fail("a port is from 1 to 65535");
  if (processes && processes->store) fail("a store is open already");
  // What c10d logs comes as an error too, in words for people.
  if (!std::getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
  if (!processes) processes = new ProcessGroupState(call.env);
  return processes->thread.promise(call.env, [=]() -> std::optional<std::string> {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = serves;
    options.waitWorkers = false;
    options.timeout = patience / 2;  // it tries twice
    processes->store = c10::make_intrusive<c10d::PrefixStore>(prefix, c10::make_intrusive<c10d::TCPStore>(host, options));
    return std::nullopt;
  });
}

/** storeSet(key, text) → promise. */
napi_value store_set(Call& call) {
  opened_store();
  const auto key = to_string(call.env, call.values[0]);
  const auto text = to_string(call.env, call.values[1]);
  return processes->thread.promise(call.env, [=]() -> std::optional<std::string> {
    opened_store().set(key, std::vector<uint8_t>(text.begin(), text.end()));
    return std::nullopt;
  });
}

/** storeGet(key, milliseconds) → promise of the text; undefined where it is not there by then. */
napi_value store_get(Call& call) {
  opened_store();
  const auto key = to_string(call.env, call.values[0]);
  const auto patience = std::chrono::milliseconds(to_int(call.env, call.values[1]));
  return processes->thread.promise(call.env, [=]() -> std::optional<std::string> {
    auto& store = opened_store();
    const auto end = std::chrono::steady_clock::now() + patience;
    // Asked again and again: a wait that runs out is an error of the connection to c10d.
    while (!store.check({key})) {
      if (std::chrono::steady_clock::now() >= end) return std::nullopt;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    const auto bytes = store.get(key);
    return std::string(bytes.begin(), bytes.end());
  });
}

/** storeAdd(key, number) → promise of the sum that then stands there, as text. */
napi_value store_add(Call& call) {
  opened_store();
  const auto key = to_string(call.env, call.values[0]);
  const auto number = to_int(call.env, call.values[1]);
  return processes->thread.promise(call.env, [=]() -> std::optional<std::string> { return std::to_string(opened_store().add(key, number)); });
}

/**
 * beat(key, milliseconds, watched) → promise. Adds one there again and again while this process lives and runs, also while it computes.
 * The promise gives what another process puts under the watched key, undefined when the group is closed; it is rejected where the store is
 * gone.
 */
napi_value beat(Call& call) {
  opened_store();
  const auto key = to_string(call.env, call.values[0]);
  const auto pause = std::chrono::milliseconds(to_int(call.env, call.values[1]));
  const auto watched = to_string(call.env, call.values[2]);
  processes->open = std::make_shared<std::atomic<bool>>(true);
  return processes->heart.promise(call.env, [=, open = processes->open]() -> std::optional<std::string> {
    const auto store = opened_store().clone();  // a connection of its own: the other one may be waiting
    for (; *open; std::this_thread::sleep_for(pause)) {
      store->add(key, 1);
      if (!store->check({watched})) continue;
      const auto bytes = store->get(watched);
      return std::string(bytes.begin(), bytes.end());
    }
    return std::nullopt;
  });
}

/**
 * openGroup(name, rank, size, address, interface | null, milliseconds) → promise. The group is then known to operators by its name. The
 * store answers meanwhile, and the promise alone does not keep this process alive.
 */
napi_value open_group(Call& call) {
  opened_store();
  const auto name = to_string(call.env, call.values[0]);
  const auto rank = static_cast<int>(to_int(call.env, call.values[1]));
  const auto size = static_cast<int>(to_int(call.env, call.values[2]));
  const auto address = to_string(call.env, call.values[3]);
  const auto interface = is_nullish(call.env, call.values[4]) ? std::string() : to_string(call.env, call.values[4]);
  const auto patience = std::chrono::milliseconds(to_int(call.env, call.values[5]));
  if (size < 1 || rank < 0 || rank >= size) fail("a rank is from 0 to below the number of processes");
  return processes->connecting.promise(call.env, [=]() -> std::optional<std::string> {
    using Gloo = c10d::ProcessGroupGloo;
    const auto options = Gloo::Options::create(patience);
    options->devices.push_back(interface.empty() ? Gloo::createDeviceForHostname(address) : Gloo::createDeviceForInterface(interface));
    // A connection of its own: it waits for the others.
    const auto store = c10::make_intrusive<c10d::PrefixStore>("gloo", processes->store->clone());
    const auto gloo = c10::make_intrusive<Gloo>(store, rank, size, options);
    const auto group = c10::make_intrusive<c10d::ProcessGroup>(store, rank, size);
    group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, gloo);
    group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
    group->setGroupName(name);
    c10d::register_process_group(name, group);
    processes->group = group;
    processes->name = name;
    return std::nullopt;
  });
}

/** waitTensor(handle) → promise: the collectives that write to it are done. */
napi_value wait_tensor(Call& call) {
  opened_store();
  const at::Tensor tensor = tensor_argument(call);
  return processes->thread.promise(call.env, [tensor]() -> std::optional<std::string> {
    c10d::wait_tensor(tensor);
    return std::nullopt;
  });
}

/** abandonGroup(): what still waits for others no longer keeps this process alive. For a group that has failed, which is not closed. */
napi_value abandon_group(Call& call) {
  if (processes) processes->thread.release(call.env);
  return undefined(call.env);
}

/** closeGroup() → promise: leaves group and store. After a collective that failed, the end of the process does it better. */
napi_value close_group(Call& call) {
  opened_store();
  return processes->thread.promise(call.env, []() -> std::optional<std::string> {
    if (processes->group) c10d::unregister_process_group(processes->name);
    if (processes->open) *processes->open = false;
    processes->group.reset();
    processes->store.reset();
    return std::nullopt;
  });
}

#endif

}  // namespace
