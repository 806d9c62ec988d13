// What the thread pool does at limits that a test from Python cannot set: memory that ends while
// its threads are started, more CPUs than it takes threads. tests/plan/test_thread_pool.py builds
// and runs it.
//
//   usage: thread_pool_test no_memory|default_threads
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>

#include "base/parallel.h"

namespace {

std::atomic<int> allocations_until_failure{-1};  // negative: none fails

}  // namespace

void* operator new(std::size_t bytes) {
  void* memory = allocations_until_failure-- == 0 ? nullptr : std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace pyqrt {

int available_cpus() {
  return 2 * ThreadPool::kMaxThreads;
}

namespace {

constexpr int kThreads = 4;

// Whichever of its allocations fails, a pool that cannot be leaves no thread behind, and says which
// one it could not start.
bool survives_lack_of_memory() {
  int not_started = 0;
  for (int allocations = 0;; ++allocations) {
    allocations_until_failure = allocations;
    try {
      const ThreadPool pool(kThreads);
      return not_started == kThreads - 1;
    } catch (const std::bad_alloc&) {
    } catch (const Error& error) {
      const std::string what = error.what();
      const std::string which = std::to_string(++not_started + 1) + " of 4 (std::bad_alloc)";
      if (what.find("cannot start thread " + which) == std::string::npos) return false;
    }
  }
}

bool default_is_within_the_limit() {
  return ThreadPool::default_threads() == ThreadPool::kMaxThreads;
}

}  // namespace
}  // namespace pyqrt

int main(int count, char** arguments) {
  const std::string what = count > 1 ? arguments[1] : "";
  const bool passed = what == "no_memory"         ? pyqrt::survives_lack_of_memory()
                      : what == "default_threads" ? pyqrt::default_is_within_the_limit()
                                                  : false;
  std::puts(passed ? "passed" : "FAILED");
  return passed ? 0 : 1;
}
