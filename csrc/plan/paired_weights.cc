#include "plan/paired_weights.h"

#include <cstdint>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace pyqrt {
namespace {

// Takes the whole pages of read-only memory that maps a file out of this process's. Its contents
// stay the same, and in the system's cache.
void give_back_pages([[maybe_unused]] const void* memory, [[maybe_unused]] int64_t bytes) {
#if defined(__linux__)
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t first = (start + page - 1) / page * page;
  const std::uintptr_t end = (start + static_cast<std::uintptr_t>(bytes)) / page * page;
  // Where the system refuses, they stay.
  if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
#endif
}

}  // namespace

void PairedWeights::Place::make() {
  try {
    std::unique_ptr<const PairedWeight> made = pair_weight(isa_, args_);
    if (made == nullptr) return;
    const PairedWeight* none = nullptr;
    if (made_.compare_exchange_strong(none, made.get())) made.release();
  } catch (const std::bad_alloc&) {
  }
}

void PairedWeights::Place::give_back() const {
  if (!is_mapped_file_ || get() == nullptr) return;
  give_back_pages(args_.weight, round_up(args_.n, kLinearBlock) * round_up(args_.k, kLinearGroup));
}

const PairedWeights::Place& PairedWeights::place(Isa isa, const LinearArgs& args,
                                                 bool is_mapped_file) {
  const auto [at, is_new] = places_.try_emplace(args.weight, isa, args, is_mapped_file);
  if (is_new) all_.push_back(&at->second);
  return at->second;
}

void PairedWeights::prepare(ThreadPool& pool, int64_t tokens) {
  if (!are_made_.load(std::memory_order_acquire)) {
    if (tokens_.fetch_add(tokens, std::memory_order_relaxed) + tokens < kTokensBefore) return;
    pool.run(static_cast<int64_t>(all_.size()), [&](int64_t i, int) {
      all_[static_cast<std::size_t>(i)]->make();
      all_[static_cast<std::size_t>(i)]->give_back();
    });
    are_made_.store(true, std::memory_order_release);
  } else if (!were_given_back_again_.exchange(true, std::memory_order_relaxed)) {
    for (const Place* place : all_) place->give_back();
  }
}

}  // namespace pyqrt
