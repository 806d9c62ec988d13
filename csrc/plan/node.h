// A node of the plan: an op with its constants checked and its kernel chosen.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "plan/program.h"

namespace pyqrt {

// Where a buffer lies during one pass. Rows are `stride` elements apart.
struct BufferView {
  void* data = nullptr;
  int64_t stride = 0;

  template <class Element>
  Element* as() const {
    return static_cast<Element*>(data);
  }
};

// The packed sequences of one pass. Ids, types and lengths are already checked.
struct Batch {
  int64_t tokens = 0;
  int64_t sequences = 0;
  int64_t max_length = 0;
  const int32_t* ids = nullptr;        // [tokens]
  const int32_t* types = nullptr;      // [tokens]
  const int32_t* positions = nullptr;  // [tokens], from 0 within each sequence
  const int32_t* offsets = nullptr;    // [sequences + 1]

  int64_t rows(Rows kind) const { return kind == Rows::kTokens ? tokens : sequences; }
};

// What a node may use while it runs.
struct Context {
  const Batch& batch;
  const BufferView* buffers;  // by number
  ThreadPool& pool;
  std::byte* scratch;  // one region per worker
  std::size_t scratch_stride;

  void* worker_scratch(int worker) const {
    return scratch + static_cast<std::size_t>(worker) * scratch_stride;
  }
};

// What `inspect` shows of a node.
struct NodeReport {
  Isa variant = Isa::kReference;
  int widest_bits = 0;   // signed bits of the widest accumulator, worst case
  int budget_bits = 32;  // bits it has
  int64_t weight_bytes = 0;
};

class Node {
 public:
  virtual ~Node() = default;
  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Runs over the whole batch; neither throws nor allocates.
  virtual void run(const Context& context) const = 0;
  // Scratch memory one worker needs when no sequence is longer than max_length.
  virtual std::size_t scratch_bytes(int64_t max_length) const;
  // Reads every constant and throws Error where one breaks the op's contract.
  virtual void verify() const {}

  NodeReport report;
};

class NodeReader;

// Each checks a specification against the op's contract and throws Error where it fails.
using NodeFactory = std::unique_ptr<Node>(const NodeReader& reader);
NodeFactory make_embedding;
NodeFactory make_linear;
NodeFactory make_attention;
NodeFactory make_layernorm;
NodeFactory make_lookup;
NodeFactory make_pool;
NodeFactory make_normalize;

// Runs body(range, worker) over [0, count) in pieces of at most `grain`, shared among the workers.
template <class Body>
void parallel_ranges(const Context& context, int64_t count, int64_t grain, const Body& body) {
  context.pool.run(ceil_div(count, grain), [&](int64_t item, int worker) {
    const int64_t begin = item * grain;
    body(Range{begin, begin + grain < count ? begin + grain : count}, worker);
  });
}

}  // namespace pyqrt
