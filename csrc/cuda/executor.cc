#include "cuda/executor.h"

namespace pyqrt::cuda {

void KernelExecutor::embedding(const EmbeddingArgs& args) {
  EmbeddingArgs there = args;
  for (int t = 0; t < args.tables; ++t) {
    there.table[t].data = constants_.at(args.table[t].data);
    there.table[t].multiplier = constants_.at(args.table[t].multiplier);
  }
  launch_embedding(there, batch_.tokens, live_.tokens, stream_);
}

void KernelExecutor::linear(const LinearArgs& args, Rows rows) {
  LinearArgs there = args;
  there.weight = constants_.at(args.weight);
  there.weight_sum = nullptr;  // for instruction sets that multiply unsigned by signed
  there.bias = constants_.at(args.bias);
  there.multiplier = constants_.at(args.multiplier);
  there.shift = constants_.at(args.shift);
  there.gelu_multiplier = constants_.at(args.gelu_multiplier);
  launch_linear(there, live_.of(rows), stream_);
}

void KernelExecutor::attention(const AttentionArgs& args) {
  AttentionArgs there = args;
  there.score_multiplier = constants_.at(args.score_multiplier);
  there.output_multiplier = constants_.at(args.output_multiplier);
  there.output_exponent = constants_.at(args.output_exponent);
  there.relative_index = constants_.at(args.relative_index);
  there.relative_bias = constants_.at(args.relative_bias);
  there.relative_key = constants_.at(args.relative_key);
  there.relative_query = constants_.at(args.relative_query);
  launch_attention(there, batch_.sequences, batch_.max_length, stream_);
}

void KernelExecutor::layernorm(const LayerNormArgs& args, Rows rows) {
  LayerNormArgs there = args;
  there.output8.gain = constants_.at(args.output8.gain);
  there.output8.bias = constants_.at(args.output8.bias);
  there.output16.gain = constants_.at(args.output16.gain);
  there.output16.bias = constants_.at(args.output16.bias);
  launch_layernorm(there, batch_.rows(rows), live_.of(rows), stream_);
}

void KernelExecutor::lookup(const LookupArgs& args, Rows rows) {
  LookupArgs there = args;
  there.table = constants_.at(args.table);
  launch_lookup(there, batch_.rows(rows), live_.of(rows), stream_);
}

void KernelExecutor::normalize(const NormalizeArgs& args, Rows rows) {
  launch_normalize(args, batch_.rows(rows), live_.of(rows), stream_);
}

void KernelExecutor::pool(const PoolArgs& args) {
  launch_pool(args, batch_.sequences, stream_);
}

void KernelExecutor::rotary(const RotaryArgs& args) {
  RotaryArgs there = args;
  there.cosine = constants_.at(args.cosine);
  there.sine = constants_.at(args.sine);
  launch_rotary(there, batch_.tokens, live_.tokens, stream_);
}

void KernelExecutor::multiply(const MultiplyArgs& args, Rows rows) {
  MultiplyArgs there = args;
  there.multiplier = constants_.at(args.multiplier);
  there.shift = constants_.at(args.shift);
  launch_multiply(there, batch_.rows(rows), live_.of(rows), stream_);
}

void KernelExecutor::neighbours(const NeighboursArgs& args) {
  launch_neighbours(args, batch_.tokens, batch_.sequences, live_.tokens, stream_);
}

void KernelExecutor::match(const MatchArgs& args) {
  launch_match(args, batch_.tokens, batch_.sequences, live_.tokens, stream_);
}

}  // namespace pyqrt::cuda
