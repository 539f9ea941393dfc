#pragma once
// Ctrl-C while JavaScript computes. JavaScript handles a signal only between its tasks, which may be minutes apart, and takes two for one.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "values.h"

namespace {

/** Nanoseconds in which two signals are one: npm passes a Ctrl-C on to a script that has had it from the terminal already. */
constexpr int64_t kOnePress = 200'000'000;

/** libuv's, by which JavaScript will hear of it. */
std::array<void (*)(int), NSIG> listeners;
std::array<char, 256> words;
size_t words_size = 0;
/** When the first came, nanoseconds; 0: none yet. */
std::atomic<int64_t> first_signal{0};

/** The first is answered, the second ends the process. Calls only what a signal handler may. */
void on_signal(int number) {
  const int error = errno;
  timespec clock;
  clock_gettime(CLOCK_MONOTONIC, &clock);
  const int64_t now = clock.tv_sec * 1'000'000'000LL + clock.tv_nsec;
  int64_t first = 0;
  if (first_signal.compare_exchange_strong(first, now)) {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, words.data(), words_size);
  } else if (now - first > kOnePress) {
    signal(number, SIG_DFL);
    raise(number);  // comes when this handler is left
  }
  listeners[number](number);
  errno = error;
}

/** answerSignals(words): see index.d.ts. */
void answer_signals(Call& call) {
  const auto text = to_string(call.env, call.values[0]);
  std::vector<int> listened;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action;
    if (sigaction(number, nullptr, &action) != 0) continue;
    // libuv's handler restarts system calls; Node's own, which ends the process, does not.
    if ((action.sa_flags & (SA_RESTART | SA_SIGINFO)) != SA_RESTART || action.sa_handler == on_signal) continue;
    listeners[number] = action.sa_handler;
    listened.push_back(number);
  }
  if (listened.empty()) return;
  words_size = std::min(text.size(), words.size());
  std::copy_n(text.begin(), words_size, words.begin());
  first_signal = 0;
  for (const int number : listened) {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigfillset(&action.sa_mask);
    sigaction(number, &action, nullptr);
  }
}

}  // namespace
