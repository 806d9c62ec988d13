// Runs ops somewhere else than nodes do themselves, which is on the CPU: one function for each op,
// for all rows of a pass. Arguments are those of the op's contract; buffers and the batch lie where
// the Context says, constants where the program has them.
#pragma once

#include "ops/attention/attention.h"
#include "ops/embedding/embedding.h"
#include "ops/layernorm/layernorm.h"
#include "ops/linear/linear.h"
#include "ops/lookup/lookup.h"
#include "ops/match/match.h"
#include "ops/multiply/multiply.h"
#include "ops/neighbours/neighbours.h"
#include "ops/normalize/normalize.h"
#include "ops/pool/pool.h"
#include "ops/rotary/rotary.h"
#include "plan/program.h"

namespace pyqrt {

class Executor {
 public:
  virtual ~Executor() = default;
  Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  virtual void embedding(const EmbeddingArgs& args) = 0;
  virtual void linear(const LinearArgs& args, Rows rows) = 0;
  virtual void attention(const AttentionArgs& args) = 0;
  virtual void layernorm(const LayerNormArgs& args, Rows rows) = 0;
  virtual void lookup(const LookupArgs& args, Rows rows) = 0;
  virtual void normalize(const NormalizeArgs& args, Rows rows) = 0;
  virtual void pool(const PoolArgs& args) = 0;
  virtual void rotary(const RotaryArgs& args) = 0;
  virtual void multiply(const MultiplyArgs& args, Rows rows) = 0;
  virtual void neighbours(const NeighboursArgs& args) = 0;
  virtual void match(const MatchArgs& args) = 0;
};

}  // namespace pyqrt
