// How a batch is cut into passes, and how the nodes of a plan are shared out among threads.
//
// Most nodes work row by row. Consecutive ones on the same kind of rows form a stage: a piece of
// the rows goes through all of them on one thread, waiting for nobody and staying in its cache.
// Threads meet only between stages: for a transformer layer, before and after the attention.
#pragma once

#include <memory>
#include <vector>

#include "base/parallel.h"
#include "plan/node.h"

namespace pyqrt {

// Nodes [begin, end) of a plan, all of one Work, which is kRows or a single node.
struct Stage {
  std::size_t begin = 0;
  std::size_t end = 0;
};

using Nodes = std::vector<std::unique_ptr<Node>>;

// Cuts a batch of sequences, which have offsets [sequences + 1], into passes of as many whole
// sequences as have at most kPassTokens tokens together, or of one.
constexpr int64_t kPassTokens = 1024;
void cut_passes(const int32_t* offsets, int64_t sequences, std::vector<Range>& passes);

// The same for threads that run whole passes: ever smaller ones, so that the threads end together,
// in the order in which to begin them, those of most tokens first.
void cut_shares(const int32_t* offsets, int64_t sequences, int threads, std::vector<Range>& passes);

std::vector<Stage> make_stages(const Nodes& nodes);

// Runs the nodes of a stage over the whole pass. Neither throws nor allocates.
void run_stage(const Nodes& nodes, Stage stage, const Context& context, ThreadPool& pool);

}  // namespace pyqrt
