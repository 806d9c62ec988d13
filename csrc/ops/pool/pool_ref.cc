#include <algorithm>

#include "fixed/fixed.h"
#include "ops/pool/pool.h"

namespace pyqrt {

void pool_reference(const PoolArgs& args, Range sequences) {
  for (int64_t s = sequences.begin; s < sequences.end; ++s) {
    const int64_t tokens = args.offsets[s + 1] - args.offsets[s];
    const int16_t* input = args.input + args.offsets[s] * args.input_stride;
    const int16_t* row = args.input + (tokens == 0 ? 0 : pool_row(args, s)) * args.input_stride;
    int16_t* output = args.output + s * args.output_stride;
    for (int64_t c = 0; c < args.width; ++c) {
      if (tokens == 0) {
        output[c] = 0;
      } else if (args.kind == PoolKind::kMax) {
        int16_t largest = input[c];
        for (int64_t i = 1; i < tokens; ++i) {
          largest = std::max(largest, input[i * args.input_stride + c]);
        }
        output[c] = largest;
      } else if (args.kind == PoolKind::kMean) {
        int32_t sum = 0;
        for (int64_t i = 0; i < tokens; ++i) sum += input[i * args.input_stride + c];
        output[c] = static_cast<int16_t>(fixed::rounded_mean(sum, tokens));
      } else {
        output[c] = row[c];
      }
    }
  }
}

}  // namespace pyqrt
