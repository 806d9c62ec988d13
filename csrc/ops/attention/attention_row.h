// attention, what is scalar in a row: the keys it sees, its relative terms, and its end, from the
// exact sum A of probabilities times values to the output.
//
// Everything is `static`: translation units compiled for different instruction sets each keep
// their own copy.
#pragma once

#include "fixed/fixed.h"
#include "ops/attention/attention.h"

namespace pyqrt {

// [begin, end) of the keys that token i of n sees.
static constexpr Range attention_seen(int64_t window, int64_t i, int64_t n) {
  if (window < 0) return {0, n};
  return {i > window ? i - window : 0, i + window + 1 < n ? i + window + 1 : n};
}

// How many tokens are the first ones of a sequence of n from row `first` on.
static constexpr int64_t attention_firsts(const AttentionArgs& args, int64_t first, int64_t n) {
  if (args.until >= 0) return place_of(args.until, args.ids + first, n);
  return n > 1 ? 1 : n;
}
// The keys that all tokens of the sequence see.
static constexpr int64_t attention_first_keys(const AttentionArgs& args, int64_t first, int64_t n) {
  return args.first_key ? attention_firsts(args, first, n) : 0;
}
// Its queries, and the row of the first of them.
static constexpr int64_t attention_queries(const AttentionArgs& args, int64_t first, int64_t n) {
  return args.first_query ? attention_firsts(args, first, n) : n;
}
static constexpr int64_t attention_query_row(const AttentionArgs& args, int64_t sequence,
                                             int64_t first) {
  return args.first_query && args.until < 0 ? sequence : first;
}

static constexpr int32_t attention_dot(const int8_t* a, const int8_t* b, int64_t count) {
  int32_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// The terms of S_ij that depend on i - j = distance; `query` and `key` are the head's columns.
static constexpr int32_t attention_relative(const AttentionArgs& args, int64_t head,
                                            const int8_t* query, const int8_t* key,
                                            int64_t distance) {
  if (args.relative_index == nullptr) return 0;
  const int64_t reach = args.relative_reach;
  const int64_t clamped = distance < -reach ? -reach : distance > reach ? reach : distance;
  const int64_t t = args.relative_index[clamped + reach];
  const int64_t d = args.head_dim;
  const int64_t column = t * args.heads * d + head * d;
  int32_t sum = 0;
  if (args.relative_bias != nullptr) sum += args.relative_bias[head * args.relative_rows + t];
  if (args.relative_key != nullptr) sum += attention_dot(query, args.relative_key + column, d);
  if (args.relative_query != nullptr) sum += attention_dot(key, args.relative_query + column, d);
  return sum;
}

// out = sat8(rshr64(A * factor, shift) + zero_point), for an A without its low `drop` bits.
struct RowScale {
  int32_t factor;
  int shift;
  int drop;
};

// `sum` is the row's sum of probabilities.
static constexpr RowScale row_scale(int32_t sum, int32_t multiplier, int32_t exponent) {
  const auto length = static_cast<uint32_t>(sum);
  const int b = fixed::bit_length(length);
  const int drop = b > 24 ? b - 24 : 0;
  const uint32_t mantissa = b >= 16 ? length >> (b - 16) : length << (16 - b);
  const auto reciprocal = static_cast<int32_t>(fixed::divide(0xffffffffu, mantissa));
  return {reciprocal * multiplier, b + 30 - exponent - drop, drop};
}

static constexpr int32_t attention_output(int64_t mixed, const RowScale& scale,
                                          int32_t zero_point) {
  // |A / L| <= 127 leaves 23 bits of the product. The shift is positive.
  const int64_t product = int64_t{static_cast<int32_t>(mixed >> scale.drop)} * scale.factor;
  const int64_t scaled = (product + (int64_t{1} << (scale.shift - 1))) >> scale.shift;
  return fixed::sat8(static_cast<int32_t>(scaled) + zero_point);
}

}  // namespace pyqrt
