// One pass: a few whole sequences of a call through all nodes of a plan, in memory that is given.
#pragma once

#include <vector>

#include "base/parallel.h"
#include "plan/plan.h"
#include "plan/schedule.h"

namespace pyqrt {

// What a session is called with, already checked: ids, types (may be null: all 0), offsets of the
// sequences in both, and for every output of the program where its rows of the whole batch go.
struct Call {
  const int32_t* ids = nullptr;
  const int32_t* types = nullptr;
  const int32_t* offsets = nullptr;
  void* const* outputs = nullptr;

  int64_t tokens(Range sequences) const {
    return offsets[sequences.end] - offsets[sequences.begin];
  }
};

// Holds what a pass needs besides memory, so that running one allocates nothing. One at a time.
class Pass {
 public:
  // threads: how many the pool has that will run it. The plan must outlive the pass.
  Pass(const Plan& plan, int threads);

  // Memory for a pass over these sequences, a multiple of kAlignment.
  std::size_t bytes(const Call& call, Range sequences) const;

  // Runs the sequences and writes their rows to the call's outputs. `memory` is aligned to
  // kAlignment. Neither throws nor allocates.
  void run(const Call& call, Range sequences, std::byte* memory, ThreadPool& pool);

 private:
  std::size_t scratch_bytes(const Batch& batch) const;
  void write_outputs(const Call& call, Range sequences) const;

  const Plan* plan_;
  int threads_;
  std::vector<Stage> stages_;
  std::vector<BufferView> views_;  // by buffer
  std::vector<std::byte*> slots_;  // by slot
};

}  // namespace pyqrt
