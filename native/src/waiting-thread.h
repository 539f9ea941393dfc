#pragma once
// A thread that does what waits for other processes, and promises that tell JavaScript when it is done.

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "values.h"

namespace {

/**
 * Does jobs one after the other on a thread of its own. It is never destroyed: a job may still wait when the process ends, and libuv would
 * wait for its own threads then.
 */
class WaitingThread {
 public:
  /** keeps_alive: whether Node goes on while a promise is open, until `release`. */
  WaitingThread(napi_env env, bool keeps_alive) : keeps_alive_(keeps_alive) {
    napi_value name = from_string(env, "spo:waiting");
    check(env, napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, settle, &to_javascript_));
    check(env, napi_unref_threadsafe_function(env, to_javascript_));
    // After the function's own hook, so that it runs before: later the function is gone.
    check(env, napi_add_env_cleanup_hook(env, [](void* self) { static_cast<WaitingThread*>(self)->end(); }, this));
    std::thread([this] { work(); }).detach();
  }

  /** A promise of what the job gives; undefined where that is nothing. It is rejected with what the job throws. */
  napi_value promise(napi_env env, std::function<std::optional<std::string>()> job) {
    auto one = std::make_unique<Job>();
    one->run = std::move(job);
    napi_value promised;
    check(env, napi_create_promise(env, &one->deferred, &promised));
    if (pending_++ == 0 && keeps_alive_) check(env, napi_ref_threadsafe_function(env, to_javascript_));
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(one));
    changed_.notify_one();
    return promised;
  }

  /** Node no longer goes on for what is promised. A job that waits for a dead connection may take the kernel's quarter of an hour. */
  void release(napi_env env) {
    if (keeps_alive_ && pending_ > 0) check(env, napi_unref_threadsafe_function(env, to_javascript_));
    keeps_alive_ = false;
  }

 private:
  struct Job {
    std::function<std::optional<std::string>()> run;
    napi_deferred deferred = nullptr;
    std::optional<std::string> result;
    std::optional<std::string> error;
  };

  void end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }

  void work() {
    for (;;) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !jobs_.empty(); });
      auto job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      try {
        job->result = job->run();
      } catch (const std::exception& error) {
        job->error = reason(error);
      } catch (...) {
        job->error = "unknown native error";
      }
      job->run = nullptr;  // what it holds is freed here
      lock.lock();
      if (ended_) return;
      if (napi_call_threadsafe_function(to_javascript_, job.get(), napi_tsfn_blocking) == napi_ok) job.release();
    }
  }

  /** On the JavaScript thread. env: none where the environment is ending. */
  static void settle(napi_env env, napi_value, void* self, void* data) {
    const std::unique_ptr<Job> job(static_cast<Job*>(data));
    auto& thread = *static_cast<WaitingThread*>(self);
    if (!env) return;
    if (--thread.pending_ == 0 && thread.keeps_alive_) napi_unref_threadsafe_function(env, thread.to_javascript_);
    try {
      if (job->error) {
        napi_value error;
        check(env, napi_create_error(env, nullptr, from_string(env, *job->error), &error));
        check(env, napi_reject_deferred(env, job->deferred, error));
      } else {
        check(env, napi_resolve_deferred(env, job->deferred, job->result ? from_string(env, *job->result) : undefined(env)));
      }
    } catch (...) {
      // The environment is ending: nobody waits for the promise.
    }
  }

  bool keeps_alive_;  // of the JavaScript thread, as pending_
  napi_threadsafe_function to_javascript_ = nullptr;
  size_t pending_ = 0;
  bool ended_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Job>> jobs_;
};

}  // namespace
