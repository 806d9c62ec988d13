#include "fixed/fixed.h"
#include "ops/match/match.h"

namespace pyqrt {

void match_reference(const MatchArgs& args, Range sequences) {
  for (int64_t s = sequences.begin; s < sequences.end; ++s) {
    const int16_t* row = args.row + s * args.row_stride;
    for (int64_t i = args.offsets[s]; i < args.offsets[s + 1]; ++i) {
      const int16_t* token = args.token + i * args.token_stride;
      int64_t sum = 0;
      for (int64_t c = 0; c < args.width; ++c) sum += int32_t{token[c]} * row[c];
      args.output[i * args.output_stride] = static_cast<int32_t>(fixed::rshr64(sum, args.shift));
    }
  }
}

}  // namespace pyqrt
