// attention, what is scalar in a row: the keys it sees, its relative terms, and its end, from the
// exact sum A of probabilities times values to the output.
//
// Everything is `static`: translation units compiled for different instruction sets each keep
// their own copy.
#pragma once

#include "fixed/fixed.h"
#include "ops/attention/attention.h"

namespace pyqrt {

// The global tokens of a sequence of n from row `first` on: its first ones, or its last ones.
static constexpr Range attention_globals(const AttentionArgs& args, int64_t first, int64_t n) {
  if (args.until >= 0) return {0, place_of(args.until, args.ids + first, n)};
  if (args.after < 0) return {0, n > 1 ? 1 : n};
  const int64_t begin = place_of(args.after, args.ids + first, n) + 2;
  return {begin < n ? begin : n, n};
}
// The keys that all tokens of the sequence see.
static constexpr Range attention_global_keys(const AttentionArgs& args, int64_t first, int64_t n) {
  return args.global_key ? attention_globals(args, first, n) : Range{0, 0};
}
// The tokens with queries, and the row of the sequence's first query.
static constexpr Range attention_queries(const AttentionArgs& args, int64_t first, int64_t n) {
  return args.global_query ? attention_globals(args, first, n) : Range{0, n};
}
static constexpr bool attention_one_query(const AttentionArgs& args) {
  return args.global_query && args.until < 0 && args.after < 0;
}
static constexpr int64_t attention_query_row(const AttentionArgs& args, int64_t sequence,
                                             int64_t first) {
  return attention_one_query(args) ? sequence : first;
}

// The keys that a token sees: three ranges one after the other. The scores of those before `biased`
// get the block's bias.
struct AttentionSeen {
  int64_t first;  // [0, first)
  Range near;
  int64_t last;  // [last, n)
  int64_t biased;
};

static constexpr int64_t attention_least(int64_t a, int64_t b) {
  return a < b ? a : b;
}
static constexpr int64_t attention_most(int64_t a, int64_t b) {
  return a > b ? a : b;
}

// The block of token i. The quotient is `fixed`'s: a GPU's own is made of floating-point numbers.
static constexpr int64_t attention_block(const AttentionArgs& args, int64_t i) {
  return fixed::divide(static_cast<uint32_t>(i), static_cast<uint32_t>(args.block));
}

// Of token i of n, the keys `globals` being seen by all. kBlocks: there may be blocks.
template <bool kBlocks = true>
static constexpr AttentionSeen attention_seen(const AttentionArgs& args, Range globals, int64_t i,
                                              int64_t n) {
  if (kBlocks && args.block > 0) {
    const int64_t block = attention_block(args, i);
    const int64_t last = attention_block(args, n - 1);
    if (n <= args.block_beyond || block == 0 || block >= last) return {0, {0, n}, n, 0};
    const Range near{(block - 1) * args.block, attention_least(n, (block + 2) * args.block)};
    return {attention_least(args.block, near.begin), near,
            attention_most(near.end, last * args.block), args.block};
  }
  if (args.window < 0) return {0, {0, n}, n, 0};
  Range near{attention_most(0, i - args.window), attention_least(n, i + args.window + 1)};
  if (globals.begin == 0) {
    near.end = attention_most(near.end, globals.end);
    return {attention_least(globals.end, near.begin), near, n, 0};
  }
  near.begin = attention_least(near.begin, globals.begin);
  return {0, near, attention_most(near.end, globals.begin), 0};
}

// Whether all tokens of a sequence of n see all of them.
static constexpr bool attention_sees_all(const AttentionArgs& args, int64_t n) {
  return args.block > 0 ? n <= args.block_beyond : args.window < 0 || args.window >= n;
}

// What tokens [rows.begin, rows.end) of n see together, the near ones from a multiple of `step` on,
// and the last ones if they do not begin in the step where those end.
template <bool kBlocks = true>
static constexpr AttentionSeen attention_seen_by(const AttentionArgs& args, Range globals,
                                                 Range rows, int64_t n, int64_t step) {
  // Bounds only grow from row to row, but for rows that see all: the first ones, or the last ones.
  const AttentionSeen a = attention_seen<kBlocks>(args, globals, rows.begin, n);
  const AttentionSeen b =
      attention_seen<kBlocks>(args, globals, attention_least(rows.end, n) - 1, n);
  Range near{attention_least(a.near.begin, b.near.begin) / step * step,
             attention_most(a.near.end, b.near.end)};
  int64_t last = attention_least(a.last, b.last);
  if (last < n) last = last / step * step;
  if (last < round_up(near.end, step)) near.end = last = n;
  return {attention_least(attention_most(a.first, b.first), near.begin), near, last,
          attention_most(a.biased, b.biased)};
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
