// A persistent pool of threads that share loops out.
//
// How the work is cut never changes a result: every item writes its own outputs and reads no
// other item's. Workers spin briefly after a loop, then sleep.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/types.h"

namespace pyqrt {

// CPUs this process may use: the affinity mask, further limited by the cgroup's CPU quota
// (rounded up), at least 1.
int available_cpus();

class ThreadPool {
 public:
  static constexpr int kMaxThreads = 1024;
  // One for every available CPU, as far as that goes.
  static int default_threads();

  // threads >= 1 counts the calling thread. Throws Error when out of [1, kMaxThreads], and when the
  // system does not give as many.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls body(item, worker) for every item in [0, count), items shared out dynamically;
  // worker in [0, threads()) identifies the scratch memory to use. Returns when all are done.
  // Not re-entrant; one caller at a time, except of a pool of one thread, whose callers do all
  // themselves. body must not throw. Allocates nothing. In a forked child, where the pool's threads
  // are not, the caller does all.
  template <class Body>
  void run(int64_t count, const Body& body) {
    run_erased(
        count,
        [](const void* context, int64_t item, int worker) {
          (*static_cast<const Body*>(context))(item, worker);
        },
        &body);
  }

 private:
  using Erased = void (*)(const void* context, int64_t item, int worker);
  void run_erased(int64_t count, Erased body, const void* context);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pyqrt
