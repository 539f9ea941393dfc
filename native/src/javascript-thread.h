#pragma once
// How threads of libtorch's autograd engine reach the one thread that may call JavaScript.

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <thread>

/** The thread of one JavaScript environment. It can do work for others only while it waits in `serve`. */
class JavaScriptThread {
 public:
  bool serving() {
    const std::lock_guard lock(mutex_);
    return serving_;
  }

  /** Has `work` done by this thread and waits for that; from the thread itself, does it at once. Throws what it throws. */
  void run(const std::function<void()>& work) {
    if (std::this_thread::get_id() == id_) return work();
    Request request{work};
    std::unique_lock lock(mutex_);
    if (!serving_) throw std::runtime_error("the JavaScript thread is not waiting for backward");
    requests_.push_back(&request);
    changed_.notify_all();
    changed_.wait(lock, [&] { return request.done; });
    if (request.error) std::rethrow_exception(request.error);
  }

  /** Runs `job` on a thread of its own and meanwhile does what comes by `run`. Throws what the job throws. */
  void serve(const std::function<void()>& job) {
    std::exception_ptr error;
    bool ended = false;
    std::unique_lock lock(mutex_);  // the helper finds this thread serving
    std::thread helper([&] {
      try {
        job();
      } catch (...) {
        error = std::current_exception();
      }
      const std::lock_guard lock(mutex_);
      ended = true;
      changed_.notify_all();
    });
    serving_ = true;
    for (;;) {
      changed_.wait(lock, [&] { return ended || !requests_.empty(); });
      if (requests_.empty()) break;
      Request& request = *requests_.front();
      requests_.pop_front();
      lock.unlock();
      try {
        request.work();
      } catch (...) {
        request.error = std::current_exception();
      }
      lock.lock();
      request.done = true;
      changed_.notify_all();
    }
    serving_ = false;
    lock.unlock();
    helper.join();
    if (error) std::rethrow_exception(error);
  }

 private:
  struct Request {
    const std::function<void()>& work;
    bool done = false;
    std::exception_ptr error;
  };
  const std::thread::id id_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Request*> requests_;
  bool serving_ = false;
};
