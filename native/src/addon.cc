// libtorch for Node: one boxed dispatcher call, tensor handles, autograd, checkpoints, generators, mapped files, process groups,
// signals.
//
// Nothing here knows a model or an operator by name, but for the two that give a tensor other memory and those of our own. JavaScript
// holds tensors as small integers ("handles"): an index into a table of at::Tensor. A call reads its arguments by the operator's own
// schema, so an integer can never be taken for a tensor. Every entry point is wrapped by `guarded`, which turns C++ exceptions into
// JavaScript errors; nothing may abort the process. JavaScript may run while arguments are read (a getter in an array), so a pointer is
// taken only after all arguments have been read.

#include "attention.h"
#include "autograd.h"
#include "convolution.h"
#include "geglu.h"
#include "generators.h"
#include "group-norm.h"
#include "int8-layers.h"
#include "low-rank-linear.h"
#include "machine.h"
#include "mapped-files.h"
#include "operator-times.h"
#include "process-group.h"
#include "products.h"
#include "signals.h"

namespace {

void throw_error(napi_env env, const std::string& message) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_error(env, nullptr, message.c_str());
}

/** function: an entry point, with or without a result. */
template <auto function, size_t required>
napi_value guarded(napi_env env, napi_callback_info info) {
  try {
    void* data = nullptr;
    napi_get_instance_data(env, &data);
    auto& context = *static_cast<Context*>(data);
    Call call{context, env, kMaxArguments, {}};
    check(env, napi_get_cb_info(env, info, &call.count, call.values, nullptr, nullptr));
    if (call.count < required) fail("expected " + std::to_string(required) + " arguments");
    if (call.count > kMaxArguments) fail("too many arguments");
    context.released->drain(env);
    if constexpr (std::is_void_v<decltype(function(call))>) function(call);
    else return function(call);
  } catch (const PendingException&) {
  } catch (const std::exception& error) {
    throw_error(env, reason(error));
  } catch (...) {
    throw_error(env, "unknown native error");
  }
  return nullptr;
}

template <auto function, size_t required>
void define(napi_env env, napi_value exports, const char* name) {
  napi_value value;
  check(env, napi_create_function(env, name, NAPI_AUTO_LENGTH, guarded<function, required>, nullptr, &value));
  check(env, napi_set_named_property(env, exports, name, value));
}

/** Makes the kernels of our own known to the dispatcher, once a process, whichever copy of the addon is first. */
void register_kernels() {
  if (c10::Dispatcher::singleton().findSchema({"spo::group_norm", ""})) return;
  register_group_norm();
  register_attention();
  register_convolution();
  register_int8_layers();
  register_geglu();
  register_low_rank_linear();
  register_products();
}

napi_value initialise(napi_env env, napi_value exports) {
#ifdef __GLIBC__
  // Activations of a step are freed and wanted again at once. Left alone, glibc maps and unmaps each block above 128 KiB, and the page
  // faults cost more than many kernels. Large tensors have memory of their own.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
  // Each thread that decodes images would keep an arena of its own, with what it freed: hundreds of megabytes beside a training.
  mallopt(M_ARENA_MAX, 2);
  LargeBlocks::install();
#endif
  static MetaBook book;
  c10::SetAllocator(c10::DeviceType::Meta, &book, 100);
  torch::autograd::set_default_engine_stub(&Engine::only);
  choose_kernels();
  choose_products();
  register_kernels();
  auto* context = new Context();
  context->env = env;
  napi_set_instance_data(env, context, [](napi_env, void* data, void*) {
    // A worker's tensors end with it. Those of the main thread are the system's to take: libtorch's own statics may be gone by then.
    if (gettid() == getpid()) return;
    auto* ending = static_cast<Context*>(data);
    while (!ending->inference.empty()) ending->inference.pop_back();
    delete ending;
  }, nullptr);
  define<op, 2>(env, exports, "op");
  define<call_operator, 1>(env, exports, "call");
  define<schemas, 0>(env, exports, "schemas");
  define<release, 2>(env, exports, "release");
  define<release_one, 1>(env, exports, "releaseOne");
  define<alias, 1>(env, exports, "alias");
  define<replace, 2>(env, exports, "replace");
  define<sizes, 1>(env, exports, "sizes");
  define<strides, 1>(env, exports, "strides");
  define<dtype, 1>(env, exports, "dtype");
  define<device, 1>(env, exports, "device");
  define<requires_grad, 1>(env, exports, "requiresGrad");
  define<is_leaf, 1>(env, exports, "isLeaf");
  define<set_requires_grad, 2>(env, exports, "setRequiresGrad");
  define<item, 1>(env, exports, "item");
  define<from_buffer, 4>(env, exports, "fromBuffer");
  define<copy_out, 1>(env, exports, "copyOut");
  define<view, 1>(env, exports, "view");
  define<map_file, 1>(env, exports, "map");
  define<unmap, 1>(env, exports, "unmap");
  define<from_mapping, 4>(env, exports, "fromMapping");
  define<checkpoint, 3>(env, exports, "checkpoint");
  define<backward, 4>(env, exports, "backward");
  define<grad, 5>(env, exports, "grad");
  define<grad_of, 1>(env, exports, "gradOf");
  define<set_grad, 2>(env, exports, "setGrad");
  define<set_grad_mode, 1>(env, exports, "setGradMode");
  define<push_inference_mode, 1>(env, exports, "pushInferenceMode");
  define<pop_inference_mode, 0>(env, exports, "popInferenceMode");
  define<set_autocast, 3>(env, exports, "setAutocast");
  define<generator, 2>(env, exports, "generator");
  define<release_generator, 1>(env, exports, "releaseGenerator");
  define<generator_state, 1>(env, exports, "generatorState");
  define<set_generator_state, 2>(env, exports, "setGeneratorState");
  define<threads, 0>(env, exports, "threads");
  define<kernels, 0>(env, exports, "kernels");
  define<products, 0>(env, exports, "products");
  define<operator_times, 1>(env, exports, "operatorTimes");
  define<load_library, 1>(env, exports, "loadLibrary");
  define<live_handles, 0>(env, exports, "liveHandles");
  define<meta_book, 1>(env, exports, "metaBook");
  define<adjust_memory, 1>(env, exports, "adjustMemory");
  define<trim_memory, 0>(env, exports, "trimMemory");
  define<answer_signals, 1>(env, exports, "answerSignals");
  define<process_group_fault, 0>(env, exports, "processGroupFault");
#ifdef SPO_PROCESS_GROUPS
  define<open_store, 5>(env, exports, "openStore");
  define<store_set, 2>(env, exports, "storeSet");
  define<store_get, 2>(env, exports, "storeGet");
  define<store_add, 2>(env, exports, "storeAdd");
  define<beat, 3>(env, exports, "beat");
  define<open_group, 6>(env, exports, "openGroup");
  define<wait_tensor, 1>(env, exports, "waitTensor");
  define<abandon_group, 0>(env, exports, "abandonGroup");
  define<close_group, 0>(env, exports, "closeGroup");
#endif
  define<facts, 0>(env, exports, "facts");
  return exports;
}

}  // namespace

NAPI_MODULE_INIT() { return initialise(env, exports); }
