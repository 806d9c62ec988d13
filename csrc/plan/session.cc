#include "plan/session.h"

#include <algorithm>
#include <limits>
#include <new>

#include "plan/batch_checks.h"

namespace pyqrt {

void Session::FreeAligned::operator()(std::byte* memory) const {
  ::operator delete(memory, std::align_val_t{kAlignment});
}

Session::Session(std::shared_ptr<const Plan> plan, int threads, Parallel parallel)
    : plan_(std::move(plan)),
      pool_(threads == 0 ? ThreadPool::default_threads() : threads),
      alone_(1),
      parallel_(parallel),
      passes_(parallel == Parallel::kRows ? 1 : static_cast<std::size_t>(pool_.threads()),
              Pass(*plan_, parallel == Parallel::kRows ? pool_.threads() : 1)) {}

void Session::reserve(std::size_t bytes) {
  if (bytes <= capacity_) return;
  arena_.reset();
  capacity_ = 0;
  auto* memory =
      static_cast<std::byte*>(::operator new(bytes, std::align_val_t{kAlignment}, std::nothrow));
  if (memory == nullptr) {
    throw Error("this batch needs " + std::to_string(bytes) +
                " bytes of working memory, which the system does not give; use shorter texts, "
                "fewer threads, or raise the memory limit");
  }
  arena_.reset(memory);
  capacity_ = bytes;
}

void Session::run(const int32_t* ids, const int32_t* types, const int32_t* offsets,
                  int64_t sequences, void* const* outputs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Limits& limits = plan_->program().limits;
  check_offsets(limits, offsets, sequences, offsets[sequences]);
  check_tokens(limits, ids, types, offsets, sequences);
  plan_->prepare(pool_, offsets[sequences]);
  const Call call{ids, types, offsets, outputs};
  if (parallel_ == Parallel::kRows) {
    run_rows(call, sequences);
  } else {
    run_texts(call, sequences);
  }
}

void Session::run_rows(const Call& call, int64_t sequences) {
  cut_passes(call.offsets, sequences, parts_);
  for (const Range part : parts_) {
    reserve(passes_[0].bytes(call, part));
    passes_[0].run(call, part, arena_.get(), pool_);
  }
}

void Session::run_texts(const Call& call, int64_t sequences) {
  cut_shares(call.offsets, sequences, threads(), parts_);
  std::size_t bytes = 0;
  for (const Range part : parts_) bytes = std::max(bytes, passes_[0].bytes(call, part));
  if (bytes > std::numeric_limits<std::size_t>::max() / passes_.size()) {
    throw Error("this batch needs " + std::to_string(bytes) +
                " bytes of working memory for each of " + std::to_string(passes_.size()) +
                " threads, more than can be addressed; use shorter texts or fewer threads");
  }
  reserve(bytes * passes_.size());
  pool_.run(static_cast<int64_t>(parts_.size()), [&](int64_t i, int worker) {
    const auto w = static_cast<std::size_t>(worker);
    passes_[w].run(call, parts_[static_cast<std::size_t>(i)], arena_.get() + w * bytes, alone_);
  });
}

}  // namespace pyqrt
