// Launches ops on a GPU, for the plan's nodes.
#pragma once

#include "cuda/kernels.h"
#include "cuda/session.h"
#include "plan/executor.h"

namespace pyqrt::cuda {

// Where the numbers of rows that count lie in the device's memory.
struct LiveRows {
  const int32_t* tokens;
  const int32_t* sequences;
  const int32_t* of(Rows rows) const { return rows == Rows::kTokens ? tokens : sequences; }
};

class KernelExecutor final : public Executor {
 public:
  // All of these must outlive the executor.
  KernelExecutor(const Constants& constants, const Batch& batch, LiveRows live, Stream& stream)
      : constants_(constants), batch_(batch), live_(live), stream_(stream) {}

  void embedding(const EmbeddingArgs& args) override;
  void linear(const LinearArgs& args, Rows rows) override;
  void attention(const AttentionArgs& args) override;
  void layernorm(const LayerNormArgs& args, Rows rows) override;
  void lookup(const LookupArgs& args, Rows rows) override;
  void normalize(const NormalizeArgs& args, Rows rows) override;
  void pool(const PoolArgs& args) override;
  void rotary(const RotaryArgs& args) override;
  void multiply(const MultiplyArgs& args, Rows rows) override;
  void neighbours(const NeighboursArgs& args) override;
  void match(const MatchArgs& args) override;

 private:
  const Constants& constants_;
  const Batch& batch_;
  LiveRows live_;
  Stream& stream_;
};

}  // namespace pyqrt::cuda
