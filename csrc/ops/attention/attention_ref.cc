#include <algorithm>

#include "ops/attention/attention_row.h"
#include "ops/softmax/softmax.h"

namespace pyqrt {
void attention_reference(const AttentionArgs& args, Range items, int64_t max_length,
                         void* scratch) {
  const int64_t d = args.head_dim;
  int64_t* mixed = static_cast<int64_t*>(scratch);         // A of one query: [d]
  int32_t* score = reinterpret_cast<int32_t*>(mixed + d);  // [n], as all below
  uint8_t* high = reinterpret_cast<uint8_t*>(score + max_length);
  uint8_t* low = high + max_length;

  for (int64_t item = items.begin; item < items.end; ++item) {
    const int64_t head = item % args.heads;
    const int64_t sequence = item / args.heads;
    const int64_t first = args.offsets[sequence];
    const int64_t n = args.offsets[sequence + 1] - first;
    const int64_t queries = attention_query_row(args, sequence, first);
    const int8_t* query = args.query + queries * args.query_stride + head * d;
    const int8_t* key = args.key + first * args.key_stride + head * d;
    const int8_t* value = args.value + first * args.value_stride + head * d;
    int8_t* output = args.output + first * args.output_stride + head * d;

    int32_t sum = 0;
    SoftmaxArgs softmax;
    softmax.score = score;
    softmax.multiplier = args.score_multiplier[head];
    softmax.exponential = args.exponential;
    softmax.high = high;
    softmax.low = low;
    softmax.sum = &sum;

    const Range globals = attention_global_keys(args, first, n);
    const Range rows = attention_queries(args, first, n);
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      const AttentionSeen keys = attention_seen(args, globals, i, n);
      const int64_t up_to_near = keys.first + keys.near.size();
      const auto seen = [&](int64_t k) {
        if (k < keys.first) return k;
        return k < up_to_near ? keys.near.begin + k - keys.first : keys.last + k - up_to_near;
      };
      const int8_t* own = query + i * args.query_stride;
      softmax.n = up_to_near + n - keys.last;
      for (int64_t k = 0; k < softmax.n; ++k) {
        const int8_t* other = key + seen(k) * args.key_stride;
        score[k] =
            attention_dot(own, other, d) + attention_relative(args, head, own, other, i - seen(k));
        if (seen(k) < keys.biased) score[k] += args.block_bias[head];
      }
      softmax_reference(softmax, {0, 1});

      std::fill(mixed, mixed + d, 0);
      for (int64_t k = 0; k < softmax.n; ++k) {
        const int64_t p = 128 * high[k] + low[k];
        for (int64_t c = 0; c < d; ++c) mixed[c] += p * value[seen(k) * args.value_stride + c];
      }

      const RowScale scale =
          row_scale(sum, args.output_multiplier[head], args.output_exponent[head]);
      for (int64_t c = 0; c < d; ++c) {
        output[i * args.output_stride + c] =
            static_cast<int8_t>(attention_output(mixed[c], scale, args.zero_point));
      }
    }
  }
}

}  // namespace pyqrt
