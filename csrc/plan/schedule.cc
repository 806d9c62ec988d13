#include "plan/schedule.h"

#include <algorithm>

namespace pyqrt {
namespace {

// Rows of one piece, at most: a few times what the linear kernels repack at once, since every piece
// reads all weights of its stage.
constexpr int64_t kPieceRows = 96;
// With fewer rows per thread, reading all weights on every thread costs more than meeting after
// every node, and each thread takes some columns instead.
constexpr int64_t kMinRowsPerThread = 16;
constexpr int64_t kColumnPiecesPerThread = 3;  // so that none waits long

// The fewest tokens worth a pass of their own, in which all weights are read.
constexpr int64_t kShareTokens = 32;

Range part(int64_t count, int64_t index, int64_t parts) {
  return {count * index / parts, count * (index + 1) / parts};
}

// Passes of whole sequences, the next one of at most limit(tokens left) tokens, or of one sequence.
template <class Limit>
void cut(const int32_t* offsets, int64_t sequences, std::vector<Range>& passes,
         const Limit& limit) {
  passes.clear();
  for (int64_t first = 0; first < sequences;) {
    const int64_t most = limit(int64_t{offsets[sequences]} - offsets[first]);
    int64_t last = first + 1;
    while (last < sequences && offsets[last + 1] - offsets[first] <= most) ++last;
    passes.push_back({first, last});
    first = last;
  }
}

}  // namespace

void cut_passes(const int32_t* offsets, int64_t sequences, std::vector<Range>& passes) {
  cut(offsets, sequences, passes, [](int64_t) { return kPassTokens; });
}

void cut_shares(const int32_t* offsets, int64_t sequences, int threads,
                std::vector<Range>& passes) {
  cut(offsets, sequences, passes, [threads](int64_t left) {
    return std::clamp(left / (2 * threads), kShareTokens, kPassTokens);
  });
  std::stable_sort(passes.begin(), passes.end(), [offsets](Range a, Range b) {
    return offsets[a.end] - offsets[a.begin] > offsets[b.end] - offsets[b.begin];
  });
}

std::vector<Stage> make_stages(const Nodes& nodes) {
  std::vector<Stage> stages;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const Items items = nodes[i]->items();
    const bool joins = i > 0 && items == nodes[i - 1]->items() && items != Items::kHeads;
    if (!joins) stages.push_back({i, i});
    stages.back().end = i + 1;
  }
  return stages;
}

void run_stage(const Nodes& nodes, Stage stage, const Context& context, ThreadPool& pool) {
  const int64_t threads = pool.threads();
  const Items items = nodes[stage.begin]->items();
  const int64_t count = nodes[stage.begin]->count(context.batch);
  const auto run_piece = [&](Range piece, int worker) {
    for (std::size_t i = stage.begin; i < stage.end; ++i) {
      nodes[i]->run(context, piece, {0, nodes[i]->columns()}, worker);
    }
  };
  if (threads == 1) {
    run_piece({0, count}, 0);
  } else if (items == Items::kHeads) {
    pool.run(count, [&](int64_t head, int worker) { run_piece({head, head + 1}, worker); });
  } else if (count >= kMinRowsPerThread * threads) {
    const int64_t pieces = threads * ceil_div(count, threads * kPieceRows);
    pool.run(pieces, [&](int64_t i, int worker) { run_piece(part(count, i, pieces), worker); });
  } else {
    for (std::size_t i = stage.begin; i < stage.end; ++i) {
      const Node& node = *nodes[i];
      const int64_t columns = node.columns();
      const int64_t pieces = std::min(columns, kColumnPiecesPerThread * threads);
      pool.run(pieces, [&](int64_t p, int worker) {
        node.run(context, {0, count}, part(columns, p, pieces), worker);
      });
    }
  }
}

}  // namespace pyqrt
