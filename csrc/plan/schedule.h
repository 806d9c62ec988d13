// How the nodes of a plan are shared out among threads.
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

std::vector<Stage> make_stages(const Nodes& nodes);

// Runs the nodes of a stage over the whole pass. Neither throws nor allocates.
void run_stage(const Nodes& nodes, Stage stage, const Context& context, ThreadPool& pool);

}  // namespace pyqrt
