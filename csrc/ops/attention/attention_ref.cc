#include <algorithm>

#include "fixed/fixed.h"
#include "ops/attention/attention.h"
#include "ops/softmax/softmax.h"

namespace pyqrt {
namespace {

int32_t dot(const int8_t* a, const int8_t* b, int64_t count) {
  int32_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

void attention_reference(const AttentionArgs& args, Range items, int64_t max_length,
                         void* scratch) {
  const int64_t d = args.head_dim;
  int64_t* mixed = static_cast<int64_t*>(scratch);         // A of one query: [d]
  int32_t* score = reinterpret_cast<int32_t*>(mixed + d);  // [n], as all below
  uint8_t* high = reinterpret_cast<uint8_t*>(score + max_length);
  uint8_t* low = high + max_length;

  for (int64_t item = items.begin; item < items.end; ++item) {
    const int64_t head = item % args.heads;
    const int32_t* sequence = args.offsets + item / args.heads;
    const int64_t first = sequence[0];
    const int64_t n = sequence[1] - first;
    const int8_t* query = args.query + first * args.query_stride + head * d;
    const int8_t* key = args.key + first * args.key_stride + head * d;
    const int8_t* value = args.value + first * args.value_stride + head * d;
    int8_t* output = args.output + first * args.output_stride + head * d;

    int32_t sum = 0;
    SoftmaxArgs softmax;
    softmax.n = n;
    softmax.score = score;
    softmax.multiplier = args.score_multiplier[head];
    softmax.exponential = args.exponential;
    softmax.high = high;
    softmax.low = low;
    softmax.sum = &sum;

    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        score[j] = dot(query + i * args.query_stride, key + j * args.key_stride, d);
      }
      softmax_reference(softmax, {0, 1});

      std::fill(mixed, mixed + d, 0);
      for (int64_t j = 0; j < n; ++j) {
        const int64_t p = 128 * high[j] + low[j];
        for (int64_t c = 0; c < d; ++c) mixed[c] += p * value[j * args.value_stride + c];
      }

      const uint32_t length = static_cast<uint32_t>(sum);
      const int b = fixed::bit_length(length);
      const int e = std::max(0, b - 24);
      const uint32_t mantissa = b >= 16 ? length >> (b - 16) : length << (16 - b);
      const int64_t factor = int64_t{0xffffffffu / mantissa} * args.output_multiplier[head];
      const int shift = b + 30 - args.output_exponent[head] - e;
      for (int64_t c = 0; c < d; ++c) {
        // |A / L| <= 127 leaves 23 bits of the product.
        const int64_t scaled = fixed::rshr64((mixed[c] >> e) * factor, shift);
        output[i * args.output_stride + c] =
            static_cast<int8_t>(fixed::sat8(static_cast<int32_t>(scaled) + args.zero_point));
      }
    }
  }
}

}  // namespace pyqrt
