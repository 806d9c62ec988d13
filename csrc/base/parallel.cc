// One loop at a time. The caller opens a gate, works itself, closes the gate, and waits only for
// the workers that had come in. A worker that wakes late finds the gate closed and is not missed,
// so a short loop never waits for a sleeping thread.
#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(_WIN32)
#include <process.h>
#else
#include <unistd.h>
#endif

#if defined(PYQRT_X86)
#include <immintrin.h>
#endif

namespace pyqrt {
namespace {

int process_id() {
#if defined(_WIN32)
  return _getpid();
#else
  return getpid();
#endif
}

constexpr auto kSpin = std::chrono::microseconds(40);

// The gate, one atomic word: how many workers are inside, is it open, does the caller sleep until
// the last one leaves, and which loop this is.
constexpr uint64_t kInside = 0xffff;
constexpr uint64_t kOpen = uint64_t{1} << 16;
constexpr uint64_t kCallerAsleep = uint64_t{1} << 17;
constexpr uint64_t kLoop = uint64_t{1} << 32;  // the unit of the loop number
constexpr uint64_t loop_of(uint64_t gate) {
  return gate / kLoop;
}

void pause() {
#if defined(PYQRT_X86)
  _mm_pause();
#elif defined(PYQRT_AARCH64)
  asm volatile("isb" ::: "memory");  // YIELD does nothing on most cores; this waits a few cycles
#else
  std::this_thread::yield();
#endif
}

template <class Condition>
bool spin_until(const Condition& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    if (condition()) return true;
    pause();
  } while (std::chrono::steady_clock::now() < deadline);
  return condition();
}

}  // namespace

struct ThreadPool::State {
  std::atomic<uint64_t> gate{0};
  std::atomic<int64_t> next{0};  // the first item nobody has taken
  std::atomic<int> asleep{0};    // workers on `opened`; changed only under the mutex
  std::atomic<bool> stop{false};

  // The loop. Written by the caller while the gate is closed and nobody is inside.
  int64_t count = 0;
  Erased body = nullptr;
  const void* context = nullptr;

  std::mutex mutex;
  std::condition_variable opened;    // workers wait here for a loop
  std::condition_variable all_left;  // the caller waits here for the last worker
  std::vector<std::thread> workers;
  int owner = process_id();

  // A forked child inherits the pool without its threads, and what these held and slept on as it
  // was just then: to lock, notify or destroy that could wait for ever.
  bool inherited() const { return process_id() != owner; }

  void take_items(int worker) {
    for (;;) {
      const int64_t item = next.fetch_add(1, std::memory_order_relaxed);
      if (item >= count) return;
      body(context, item, worker);
    }
  }

  bool try_enter(uint64_t& seen) {
    while (seen & kOpen) {
      if (gate.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire)) return true;
    }
    return false;
  }

  void leave() {
    const uint64_t before = gate.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & kInside) == 1 && (before & kCallerAsleep)) {
      {
        std::lock_guard<std::mutex> lock(mutex);
      }  // the caller is in wait, or has seen us leave
      all_left.notify_one();
    }
  }

  void work(int worker) {
    uint64_t served = 0;  // number of the last loop this worker entered
    const auto called = [&] {
      const uint64_t now = gate.load();
      return stop.load() || ((now & kOpen) && loop_of(now) != served);
    };
    for (;;) {
      if (!spin_until(called)) {
        std::unique_lock<std::mutex> lock(mutex);
        asleep.fetch_add(1);  // before `called` looks at the gate: see open()
        opened.wait(lock, called);
        asleep.fetch_sub(1);
      }
      if (stop.load()) return;
      uint64_t seen = gate.load();
      if (!try_enter(seen)) continue;
      served = loop_of(seen);
      take_items(worker);
      leave();
    }
  }

  // Sequentially consistent: either a worker going to sleep sees the gate open, or `asleep` here
  // counts it.
  void open(int64_t helpers) {
    gate.store((loop_of(gate.load(std::memory_order_relaxed)) + 1) * kLoop | kOpen);
    const int64_t sleepers = asleep.load();
    if (sleepers == 0) return;
    { std::lock_guard<std::mutex> lock(mutex); }
    if (helpers >= sleepers) {
      opened.notify_all();
    } else {
      for (int64_t i = 0; i < helpers; ++i) opened.notify_one();
    }
  }

  void close() {
    gate.fetch_and(~kOpen, std::memory_order_acq_rel);
    const auto empty = [&] { return (gate.load(std::memory_order_acquire) & kInside) == 0; };
    if (spin_until(empty)) return;
    gate.fetch_or(kCallerAsleep, std::memory_order_acq_rel);
    std::unique_lock<std::mutex> lock(mutex);
    all_left.wait(lock, empty);
  }

  void finish() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      stop.store(true);
    }
    opened.notify_all();
    for (std::thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  if (threads < 1 || threads > kMaxThreads) {
    throw Error("threads = " + std::to_string(threads) + " is outside [1, " +
                std::to_string(kMaxThreads) + "]; give a number in that range");
  }
  state_->workers.reserve(static_cast<std::size_t>(threads - 1));
  for (int worker = 1; worker < threads; ++worker) {
    try {
      state_->workers.emplace_back([state = state_.get(), worker] { state->work(worker); });
    } catch (const std::exception& error) {  // std::system_error, or no memory
      state_->finish();
      throw Error("cannot start thread " + std::to_string(worker + 1) + " of " +
                  std::to_string(threads) + " (" + error.what() + "); ask for fewer threads");
    }
  }
}

ThreadPool::~ThreadPool() {
  if (state_->inherited()) {
    static_cast<void>(state_.release());
  } else {
    state_->finish();
  }
}

int ThreadPool::default_threads() {
  return std::min(available_cpus(), kMaxThreads);
}

int ThreadPool::threads() const {
  return static_cast<int>(state_->workers.size()) + 1;
}

void ThreadPool::run_erased(int64_t count, Erased body, const void* context) {
  State& state = *state_;
  if (count <= 1 || state.workers.empty() || state.inherited()) {
    for (int64_t item = 0; item < count; ++item) body(context, item, 0);
    return;
  }
  state.count = count;
  state.body = body;
  state.context = context;
  state.next.store(0, std::memory_order_relaxed);
  state.open(count - 1);
  state.take_items(0);
  state.close();
}

}  // namespace pyqrt
