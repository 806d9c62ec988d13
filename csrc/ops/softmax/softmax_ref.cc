#include <algorithm>

#include "ops/softmax/softmax.h"

namespace pyqrt {

void softmax_reference(const SoftmaxArgs& args, Range rows) {
  const uint32_t limit = softmax_limit(args.multiplier);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int32_t* score = args.score + row * args.score_stride;
    uint8_t* high = args.high + row * args.plane_stride;
    uint8_t* low = args.low + row * args.plane_stride;
    int32_t sum = 0;
    if (args.n > 0) {
      const int32_t maximum = *std::max_element(score, score + args.n);
      for (int64_t j = 0; j < args.n; ++j) {
        const auto below = static_cast<uint32_t>(maximum - score[j]);
        const int32_t p = softmax_term(below, limit, args.multiplier, args.exponential);
        high[j] = static_cast<uint8_t>(p >> 7);
        low[j] = static_cast<uint8_t>(p & 127);
        sum += p;
      }
    }
    args.sum[row] = sum;
  }
}

}  // namespace pyqrt
