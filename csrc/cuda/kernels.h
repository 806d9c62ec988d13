// The ops on a GPU, one launch each. Arguments and results are those of the op's contract
// (ops/<op>/<op>.h) with all pointers in the device's memory; whoever calls has checked them. What
// CPUs need not ask for: weights and per-channel arrays are aligned to 16 bytes.
//
// `live_rows` points at the number of rows that count, in the device's memory: a launch that was
// recorded for a larger batch serves a smaller one. Rows beyond it are not touched. Null: all rows.
// Every function throws Error where the device refuses.
#pragma once

#include "cuda/runtime.h"
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

namespace pyqrt::cuda {

// Rows and columns one block takes. The choice changes no result; kAny leaves it to the op.
// kWarpgroup, with its number of rows, is for int8 input on compute capability 9.0.
enum class TileSize : uint8_t {
  kAny,
  kSmall,
  kMedium,
  kLarge,
  kWarpgroup64,
  kWarpgroup96,
  kWarpgroup192,
  kWarpgroup256
};

void launch_linear(const LinearArgs& args, const int32_t* live_rows, Stream& stream,
                   TileSize size = TileSize::kAny);

// Whole rows stay on the chip for sequences up to 512 tokens; beyond, scores are computed twice.
void launch_attention(const AttentionArgs& args, int64_t sequences, int64_t max_length,
                      Stream& stream);

void launch_layernorm(const LayerNormArgs& args, int64_t rows, const int32_t* live_rows,
                      Stream& stream);
void launch_embedding(const EmbeddingArgs& args, int64_t rows, const int32_t* live_rows,
                      Stream& stream);
void launch_lookup(const LookupArgs& args, int64_t rows, const int32_t* live_rows, Stream& stream);
void launch_normalize(const NormalizeArgs& args, int64_t rows, const int32_t* live_rows,
                      Stream& stream);
void launch_rotary(const RotaryArgs& args, int64_t rows, const int32_t* live_rows, Stream& stream);
void launch_multiply(const MultiplyArgs& args, int64_t rows, const int32_t* live_rows,
                     Stream& stream);
// Every row is one of a sequence's, also for match.
void launch_neighbours(const NeighboursArgs& args, int64_t rows, int64_t sequences,
                       const int32_t* live_rows, Stream& stream);
void launch_match(const MatchArgs& args, int64_t rows, int64_t sequences, const int32_t* live_rows,
                  Stream& stream);

// Every sequence is a row of output, empty ones too.
void launch_pool(const PoolArgs& args, int64_t sequences, Stream& stream);

}  // namespace pyqrt::cuda
