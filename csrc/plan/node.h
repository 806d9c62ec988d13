// A node of the plan: an op with its constants checked and its kernel chosen.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "plan/executor.h"
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
  std::byte* scratch;         // one region per worker
  std::size_t scratch_stride;

  void* worker_scratch(int worker) const {
    return scratch + static_cast<std::size_t>(worker) * scratch_stride;
  }
};

// What a node's work is counted in. Items are independent of each other. One of tokens or sequences
// reads and writes its own row of every buffer of that kind, and no other row of it.
enum class Items : uint8_t { kTokens, kSequences, kHeads };

constexpr Items items_of(Rows rows) {
  return rows == Rows::kTokens ? Items::kTokens : Items::kSequences;
}

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

  virtual Items items() const = 0;
  virtual int64_t count(const Batch& batch) const;
  // Parts into which the outputs of an item may be cut, for batches of few items.
  virtual int64_t columns() const { return 1; }
  // Runs some items, and of these some columns. Neither throws nor allocates; safe to call from
  // many threads at once for different items or columns.
  virtual void run(const Context& context, Range items, Range columns, int worker) const = 0;
  // Runs all of it by `executor`. Throws Error, as does every node that does not say how.
  virtual void run_on(Executor& executor, const Context& context) const;
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
NodeFactory make_rotary;
NodeFactory make_multiply;
NodeFactory make_neighbours;
NodeFactory make_match;

}  // namespace pyqrt
