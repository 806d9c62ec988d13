// A session runs a plan: its own threads, its own arena, the plan's constants.
//
// A batch is run in passes of whole sequences (schedule.h), so the arena is bounded whatever the
// batch; no result depends on how a batch falls into passes. The arena grows to the largest pass
// seen and is then reused: no allocation after that.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/parallel.h"
#include "plan/pass.h"
#include "plan/plan.h"

namespace pyqrt {

// What the threads of a session share out: the rows of one pass after the other, or whole passes,
// each from token ids to outputs on one thread that waits for no other.
enum class Parallel : uint8_t { kRows, kTexts };

class Session {
 public:
  // threads = 0: ThreadPool::default_threads(). Throws Error.
  Session(std::shared_ptr<const Plan> plan, int threads, Parallel parallel);

  // Checks ids, types (may be null: all 0) and offsets [sequences + 1], runs, and writes output i
  // of the program densely to outputs[i]: one row per token or per sequence of the whole batch.
  // Throws Error naming the sequence. One run at a time; concurrent calls wait for each other.
  void run(const int32_t* ids, const int32_t* types, const int32_t* offsets, int64_t sequences,
           void* const* outputs);

  int threads() const { return pool_.threads(); }
  std::size_t arena_bytes() const { return capacity_; }
  const Plan& plan() const { return *plan_; }

 private:
  struct FreeAligned {
    void operator()(std::byte* memory) const;
  };

  void run_rows(const Call& call, int64_t sequences);
  void run_texts(const Call& call, int64_t sequences);
  // Makes the arena at least this large.
  void reserve(std::size_t bytes);

  std::shared_ptr<const Plan> plan_;
  ThreadPool pool_;
  ThreadPool alone_;  // of the thread that calls it: for whole passes
  Parallel parallel_;
  std::vector<Pass> passes_;  // by worker; for rows one that all of them share
  std::vector<Range> parts_;  // of the batch, one for each pass
  std::unique_ptr<std::byte, FreeAligned> arena_;
  std::size_t capacity_ = 0;
  std::mutex mutex_;
};

}  // namespace pyqrt
