// A plan: a program that has been checked, with a kernel chosen for every node and a place for
// every buffer. Immutable, so any number of sessions may share it.
#pragma once

#include <memory>
#include <vector>

#include "plan/arena.h"
#include "plan/node.h"
#include "plan/paired_weights.h"
#include "plan/program.h"

namespace pyqrt {

class Plan {
 public:
  // Checks everything a run relies on: buffer numbers, order, shapes, ranges, bit budgets, limits.
  // Does not read weights or tables (verify does). The tensors' memory must outlive the plan.
  // Throws Error.
  Plan(Program program, Isa isa);

  const Program& program() const { return program_; }
  const ArenaLayout& arena() const { return arena_; }
  const std::vector<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  Isa isa() const { return isa_; }
  std::size_t scratch_bytes(int64_t max_length) const;

  // To call before every run: see PairedWeights::prepare.
  void prepare(ThreadPool& pool, int64_t tokens) const { paired_weights_->prepare(pool, tokens); }

  // Reads every weight and checks what the constructor took on trust. Throws Error.
  void verify() const;

 private:
  void check_limits() const;
  void check_buffers() const;

  Program program_;
  Isa isa_;
  ArenaLayout arena_;
  std::unique_ptr<PairedWeights> paired_weights_ = std::make_unique<PairedWeights>();
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace pyqrt
