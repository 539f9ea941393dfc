#pragma once
// Gradient checkpointing: what autograd saves inside a function is dropped, and computed again when backward asks for it.
//
// The graph stays the ordinary one. libtorch's hooks for saved tensors put a number in the place of each tensor. The first number that
// backward wants has the function called again; the n-th tensor saved then is the n-th that was saved before. So the gradients are
// those of the plain graph, added up in the same order: bit-equal where the operators give the same bits twice. Source: PyTorch's
// `checkpoint` without re-entrance.

#include <atomic>

#include <ATen/ThreadLocalState.h>
#include <ATen/autocast_mode.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/saved_variable_hooks.h>

#include "dispatch.h"

namespace {

/** Ends the second run as soon as all saved tensors are there. */
struct AllFound : std::runtime_error {
  AllFound() : std::runtime_error("all saved tensors of a checkpoint are there again") {}
};

/** Autocast's dtypes, which libtorch's thread-local state leaves out. */
class AutocastTypes {
 public:
  void set() const noexcept {
    for (size_t i = 0; i < std::size(devices); i++) at::autocast::set_autocast_dtype(devices[i], types_[i]);
    at::autocast::clear_cache();  // a weight that was cast in one graph is no part of another
  }

 private:
  static constexpr at::DeviceType devices[] = {at::kCPU, at::kCUDA};
  at::ScalarType types_[2] = {at::autocast::get_autocast_dtype(devices[0]), at::autocast::get_autocast_dtype(devices[1])};
};

/** Autocast's dtypes for the length of a block. */
class AutocastTypesGuard {
 public:
  explicit AutocastTypesGuard(const AutocastTypes& now) { now.set(); }
  ~AutocastTypesGuard() { before_.set(); }

 private:
  const AutocastTypes before_;
};

/** A scope of JavaScript handles for the length of a block. */
class HandleScope {
 public:
  explicit HandleScope(napi_env env) : env_(env) { check(env, napi_open_handle_scope(env, &scope_)); }
  HandleScope(const HandleScope&) = delete;
  ~HandleScope() { napi_close_handle_scope(env_, scope_); }

 private:
  napi_env env_;
  napi_handle_scope scope_;
};

/** One call of a checkpointed function. It lives as long as a node of the graph has saved something through it. */
class Frame {
 public:
  inline static std::atomic<size_t> alive{0};

  Frame(Context& context, napi_value again, std::vector<at::Tensor> inputs) : context_(context), released_(context.released) {
    for (const at::Tensor& input : inputs) inputs_.push_back(input.detach().requires_grad_(input.requires_grad()));
    released_->expect();
    check(context.env, napi_create_reference(context.env, again, 1, &again_));
    alive++;
  }

  ~Frame() {
    alive--;
    released_->add(again_);
  }

  /** In the first run: notes what was saved, and gives its number. */
  size_t note(const at::Tensor& tensor) {
    saved_.push_back({at::DimVector(tensor.sizes()), tensor.scalar_type()});
    return saved_.size() - 1;
  }

  void close() { closed_ = true; }
  bool closed() const { return closed_; }

  /** In a later run: keeps what was saved. */
  void find(const at::Tensor& tensor) {
    const std::lock_guard lock(mutex_);
    if (found_.size() == saved_.size()) return;
    const auto& [sizes, type] = saved_[found_.size()];
    if (tensor.sizes() != sizes || tensor.scalar_type() != type) {
      fail("a checkpoint's function did other work the second time: it saved " + describe(tensor) + " in the place of a " +
           c10::toString(type) + " of " + std::to_string(sizes.size()) + " dimensions");
    }
    found_.push_back(tensor.detach());
    if (found_.size() == saved_.size()) throw AllFound();
  }

  /** The tensor that was saved under a number. From any thread. */
  at::Tensor take(size_t number) {
    at::Tensor tensor = pick(number);
    if (tensor.defined()) return tensor;
    context_.thread.run([&] {
      tensor = pick(number);  // another thread may have been first
      if (tensor.defined()) return;
      compute();
      tensor = pick(number);
    });
    return tensor;
  }

  /** The graph no longer needs the tensor under this number. */
  void drop(size_t number) { pick(number); }

 private:
  struct Saved {
    at::DimVector sizes;
    at::ScalarType type;
  };

  at::Tensor pick(size_t number) {
    const std::lock_guard lock(mutex_);
    return number < found_.size() ? std::move(found_[number]) : at::Tensor();
  }

  void compute();

  Context& context_;
  std::shared_ptr<Released> released_;
  napi_ref again_ = nullptr;
  std::vector<at::Tensor> inputs_;
  const at::ThreadLocalState state_;
  const AutocastTypes autocast_;
  std::vector<Saved> saved_;
  bool closed_ = false;
  std::mutex mutex_;
  std::vector<at::Tensor> found_;
};

/** What becomes of the tensors that autograd saves on this thread. */
struct Recording {
  std::shared_ptr<Frame> frame;
  bool again;
};

thread_local Recording* recording = nullptr;

/** Sets `recording` for the length of a block. */
class RecordingGuard {
 public:
  explicit RecordingGuard(Recording& now) : before_(std::exchange(recording, &now)) {}
  ~RecordingGuard() { recording = before_; }

 private:
  Recording* before_;
};

/** Stands in the graph for one saved tensor. */
class Numbered final : public torch::autograd::SavedVariableHooks {
 public:
  explicit Numbered(const Recording& recording) : frame_(recording.frame), again_(recording.again) {}
  ~Numbered() override {
    if (!again_) frame_->drop(number_);
  }
  void call_pack_hook(const at::Tensor& tensor) override {
    if (again_) frame_->find(tensor);
    else number_ = frame_->note(tensor);
  }
  at::Tensor call_unpack_hook() override {
    if (again_ || !frame_->closed()) fail("a gradient was asked for inside a checkpoint's function, of what was computed there");
    return frame_->take(number_);
  }

 private:
  std::shared_ptr<Frame> frame_;
  bool again_;
  size_t number_ = 0;
};

/** libtorch asks its engine what to do with a tensor that is about to be saved. */
class Engine final : public torch::autograd::Engine {
 public:
  static torch::autograd::Engine& only() {
    static auto& engine = *new Engine();  // never destroyed: its threads may outlast the statics
    return engine;
  }
  std::unique_ptr<torch::autograd::SavedVariableHooks> get_default_saved_variable_hooks() override {
    return recording ? std::make_unique<Numbered>(*recording) : nullptr;
  }
};

/** Calls the function again, on the JavaScript thread. */
void Frame::compute() {
  napi_env env = context_.env;
  Call call{context_, env, 0, {}};
  {
    const std::lock_guard lock(mutex_);
    found_.clear();
    found_.reserve(saved_.size());
  }
  bool whole = false;
  {
    const HandleScope handles(env);
    const at::ThreadLocalStateGuard state(state_);
    const AutocastTypesGuard autocast(autocast_);
    Recording again{std::shared_ptr<Frame>(this, [](Frame*) {}), true};  // a node of the graph holds the frame meanwhile
    const RecordingGuard guard(again);
    napi_value function, result;
    check(env, napi_get_reference_value(env, again_, &function));
    napi_value inputs = from_list(env, inputs_, [&](const at::Tensor& t) { return from_tensor(call, t); });
    const auto status = napi_call_function(env, undefined(env), function, 1, &inputs, &result);
    if (status == napi_ok) napi_get_value_bool(env, result, &whole);
    else if (status == napi_pending_exception) napi_get_and_clear_last_exception(env, &result);
  }
  BorrowedArray::check_all(context_);  // JavaScript has run in the middle of backward
  const std::lock_guard lock(mutex_);
  if (found_.size() == saved_.size()) return;
  found_.clear();
  if (!whole) fail("the function of a checkpoint failed");
  fail("a checkpoint's function did other work the second time: it saved fewer tensors");
}

/**
 * checkpoint(inputs, again, function): calls function(), and the graph saves no tensor of it. When backward needs them, it calls
 * again(inputs), with other handles on the inputs: this must do the same work, and return true, or false when it failed. Inside another
 * checkpoint, and where no graph is recorded, only function() is called.
 */
void checkpoint(Call& call) {
  napi_env env = call.env;
  const auto inputs = to_tensors(call, call.values[0]);
  for (const size_t i : {1, 2}) {
    if (type_of(env, call.values[i]) != napi_function) fail("expected a function");
  }
  const auto run = [&] { check(env, napi_call_function(env, undefined(env), call.values[2], 0, nullptr, nullptr)); };
  if (recording || !at::GradMode::is_enabled()) return run();
  Recording first{std::make_shared<Frame>(call.context, call.values[1], inputs), false};
  {
    const RecordingGuard guard(first);
    run();
  }
  first.frame->close();
}

/** Runs the engine; where nodes may run on threads of their own and call JavaScript, this one waits for them. */
void through_engine(Call& call, bool away, const std::function<void()>& work) {
  if (!away && (Frame::alive == 0 || !at::accelerator::getAccelerator())) return work();
  if (call.context.thread.serving()) fail("backward inside a checkpoint's function works on the CPU only");
  const at::ThreadLocalState state;
  const AutocastTypes autocast;
  const int threads = at::get_num_threads();
  call.context.thread.serve([&] {
    const at::ThreadLocalStateGuard guard(state);
    autocast.set();
    at::set_num_threads(threads);
    work();
  });
}

}  // namespace
