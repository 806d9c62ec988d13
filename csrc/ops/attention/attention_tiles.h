// What the vector variants share: the walk over heads, tiles of queries and chunks of keys, the
// scratch memory, and the factor of each row. A variant supplies the rest as a struct `Isa`:
//
//   Key, Value, Query              element types of the packed operands
//   kGroup                         elements that one lane of its dot product adds up
//   kKeyOffset                     what is added to packed keys: scores of query q are higher by
//                                  kKeyOffset * sum(q)
//   softmax                        the softmax of the same instruction set
//   pack_queries(from, stride, rows, d, to)    [rows][round_up(d, kGroup)], kBlock more of slack
//   pack_keys, pack_values(from, stride, n, d, to)    in the layout the variant likes
//   score(queries, keys, rows, n, d, to, stride)      S of `rows` queries and all keys
//   mix(planes, values, rows, chunk, n, d, to)        A of `rows` queries and a chunk of keys
//   store(mixed, d, scale, zero_point, to)            one row of output
//
// `rows` may be rounded up to the variant's tile: the buffers below hold whole tiles.
// Only internal linkage: code compiled for one instruction set must not stand in for another's.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "ops/attention/attention_row.h"
#include "ops/softmax/softmax.h"

namespace pyqrt {
namespace {

constexpr int64_t kTile = kAttentionQueryTile;
constexpr int64_t kBlock = 16;       // keys, and columns of the output, come in blocks
constexpr int64_t kKeyChunk = 1024;  // 1024 * 16382 * 127 < 2^31: a chunk's A fits int32

// P of a query tile, rows `stride` apart.
struct TilePlanes {
  const uint8_t* high;
  const uint8_t* low;
  int64_t stride;
};

// Cuts scratch memory into aligned pieces.
class Scratch {
 public:
  explicit Scratch(void* memory) : next_(static_cast<uint8_t*>(memory)) {}
  template <class T>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(next_);
    next_ += round_up(count * static_cast<int64_t>(sizeof(T)), kAlignment);
    return piece;
  }

 private:
  uint8_t* next_;
};

// The terms of S that depend on i - j, for one head of one sequence.
template <class Isa>
class Relative {
 public:
  // keys: the packed keys of the sequence. Takes its share of the scratch memory.
  Relative(const AttentionArgs& args, int64_t head, int64_t n, const typename Isa::Key* keys,
           Scratch& memory)
      : n_(n), d_(args.head_dim) {
    if (args.relative_index == nullptr) return;
    const int64_t d = d_;
    const int64_t width = args.heads * d;
    slot_ = memory.take<int32_t>(2 * n);
    int64_t last = 0;
    first_ = args.relative_rows;
    const auto row_at = [&](int64_t p) {  // p = j - i + n - 1
      const int64_t reach = args.relative_reach;
      return int64_t{args.relative_index[std::clamp(n - 1 - p, -reach, reach) + reach]};
    };
    for (int64_t p = 0; p < 2 * n - 1; ++p) {
      first_ = std::min(first_, row_at(p));
      last = std::max(last, row_at(p));
    }
    rows_ = last + 1 - first_;
    stride_ = round_up(rows_, kBlock);
    for (int64_t p = 0; p < 2 * n - 1; ++p) slot_[p] = static_cast<int32_t>(row_at(p) - first_);
    if (args.relative_bias != nullptr) {
      bias_ = memory.take<int32_t>(2 * n);
      const int32_t* bias = args.relative_bias + head * args.relative_rows + first_;
      for (int64_t p = 0; p < 2 * n - 1; ++p) bias_[p] = bias[slot_[p]];
    }
    if (args.relative_key != nullptr) {
      keys_ = memory.take<typename Isa::Key>(stride_ * round_up(d, Isa::kGroup));
      Isa::pack_keys(args.relative_key + first_ * width + head * d, width, rows_, d, keys_);
      by_query_ = memory.take<int32_t>(kTile * stride_);
    }
    if (args.relative_query != nullptr) {
      key_stride_ = round_up(n, kBlock);
      by_key_ = memory.take<int32_t>(round_up(rows_, kTile) * key_stride_);
      multiply_keys(args.relative_query + first_ * width + head * d, width, keys, memory);
    }
  }

  // Adds the terms of queries [row, row + rows) and keys [from.begin, from.end) to their scores,
  // of which `score` holds key 0.
  void add(const typename Isa::Query* queries, int64_t row, int64_t rows, Range from,
           int32_t* score, int64_t stride) const {
    if (slot_ == nullptr) return;
    if (keys_ != nullptr) Isa::score(queries, keys_, rows, rows_, d_, by_query_, stride_);
    for (int64_t i = 0; i < rows; ++i) {
      int32_t* to = score + i * stride;
      const int64_t shift = n_ - 1 - (row + i);
      const int32_t* slot = slot_ + shift;
      if (bias_ != nullptr) {
        for (int64_t j = from.begin; j < from.end; ++j) to[j] += bias_[shift + j];
      }
      if (keys_ != nullptr) {
        const int32_t* products = by_query_ + i * stride_;
        for (int64_t j = from.begin; j < from.end; ++j) to[j] += products[slot[j]];
      }
      if (by_key_ != nullptr) {
        for (int64_t j = from.begin; j < from.end; ++j) to[j] += by_key_[slot[j] * key_stride_ + j];
      }
    }
  }

 private:
  // by_key_[t][j] = k_j * relative_query_t, the offset of packed keys taken off again.
  void multiply_keys(const int8_t* rows, int64_t width, const typename Isa::Key* keys,
                     Scratch memory) {
    auto* packed = memory.take<typename Isa::Query>(kTile * round_up(d_, Isa::kGroup) + kBlock);
    for (int64_t t = 0; t < rows_; t += kTile) {
      const int64_t count = std::min(kTile, rows_ - t);
      Isa::pack_queries(rows + t * width, width, count, d_, packed);
      int32_t* to = by_key_ + t * key_stride_;
      Isa::score(packed, keys, count, n_, d_, to, key_stride_);
      for (int64_t i = 0; i < count && Isa::kKeyOffset != 0; ++i) {
        int32_t sum = 0;
        for (int64_t c = 0; c < d_; ++c) sum += rows[(t + i) * width + c];
        for (int64_t j = 0; j < n_; ++j) to[i * key_stride_ + j] -= Isa::kKeyOffset * sum;
      }
    }
  }

  int64_t n_;
  int64_t d_;
  int64_t first_ = 0;  // of the table's rows that occur, of which there are rows_
  int64_t rows_ = 0;
  int64_t stride_ = 0;
  int64_t key_stride_ = 0;
  int32_t* slot_ = nullptr;  // table row less first_, by j - i + n - 1
  int32_t* bias_ = nullptr;  // the same way
  typename Isa::Key* keys_ = nullptr;
  int32_t* by_query_ = nullptr;  // [kTile][stride_]
  int32_t* by_key_ = nullptr;    // [rows_][key_stride_]
};

// The keys that rows see, in whole blocks.
std::array<Range, 3> parts_of(const AttentionSeen& seen, int64_t n) {
  return {Range{0, round_up(seen.first, kBlock)}, seen.near, Range{seen.last, n}};
}

template <class T>
void move(T* to, const T* from, int64_t count) {
  std::memmove(to, from, static_cast<std::size_t>(count) * sizeof(T));
}
void clear(uint8_t* plane, Range bytes) {
  std::memset(plane + bytes.begin, 0, static_cast<std::size_t>(bytes.size()));
}

// Probabilities of rows that each see their own keys, 0 for the others of `together`, the keys that
// one row or another sees. The scores of a row's first and last keys stand beside those of its near
// keys for the time of the softmax, and so do their planes.
template <class Isa>
void softmax_by_row(SoftmaxArgs softmax, int32_t* score, const AttentionArgs& args, int64_t head,
                    Range globals, Range rows, int64_t n, const AttentionSeen& together) {
  const auto parts = parts_of(together, n);
  for (int64_t i = 0; i < rows.size(); ++i) {
    const AttentionSeen seen = attention_seen(args, globals, rows.begin + i, n);
    const Range near = seen.near;
    const int64_t begin = near.begin - seen.first;
    const int64_t last = n - seen.last;
    int32_t* own_score = score + i * softmax.score_stride;
    uint8_t* const planes[2] = {softmax.high + i * softmax.plane_stride,
                                softmax.low + i * softmax.plane_stride};
    for (uint8_t* plane : planes) {
      for (const Range part : parts) clear(plane, {part.begin, round_up(part.end, Isa::kGroup)});
    }
    for (int64_t j = 0; j < seen.biased; ++j) own_score[j] += args.block_bias[head];
    move(own_score + begin, own_score, seen.first);
    move(own_score + near.end, own_score + seen.last, last);
    SoftmaxArgs own = softmax;
    own.n = near.end + last - begin;
    own.score = own_score + begin;
    own.high = planes[0] + begin;
    own.low = planes[1] + begin;
    own.sum = softmax.sum + i;
    Isa::softmax(own, {0, 1});
    for (uint8_t* plane : planes) {
      move(plane + seen.last, plane + near.end, last);
      clear(plane, {near.end, std::min(near.end + last, seen.last)});
      move(plane, plane + begin, seen.first);
      clear(plane, {std::min(std::max(seen.first, begin), near.begin), near.begin});
    }
  }
}

template <class Isa>
void attend(const AttentionArgs& args, int64_t item, void* scratch) {
  const int64_t head = item % args.heads;
  const int64_t sequence = item / args.heads;
  const int64_t first = args.offsets[sequence];
  const int64_t n = args.offsets[sequence + 1] - first;
  if (n == 0) return;
  const int64_t d = args.head_dim;
  const int64_t columns = round_up(d, kBlock);
  const int64_t stride = round_up(n, 64);

  Scratch memory(scratch);
  auto* keys = memory.take<typename Isa::Key>(round_up(n, kBlock) * round_up(d, Isa::kGroup));
  auto* values = memory.take<typename Isa::Value>(round_up(n, Isa::kGroup) * columns);
  auto* queries = memory.take<typename Isa::Query>(kTile * round_up(d, Isa::kGroup) + kBlock);
  auto* score = memory.take<int32_t>(kTile * stride);
  auto* high = memory.take<uint8_t>(kTile * stride);
  auto* low = memory.take<uint8_t>(kTile * stride);
  auto* mixed = memory.take<int32_t>(kTile * columns);
  auto* total = memory.take<int64_t>(kTile * columns);
  auto* sum = memory.take<int32_t>(kTile);

  Isa::pack_keys(args.key + first * args.key_stride + head * d, args.key_stride, n, d, keys);
  Isa::pack_values(args.value + first * args.value_stride + head * d, args.value_stride, n, d,
                   values);
  // Dot products run to whole groups of keys; softmax writes n of them.
  if (n % Isa::kGroup != 0) {
    std::memset(high, 0, static_cast<std::size_t>(kTile * stride));
    std::memset(low, 0, static_cast<std::size_t>(kTile * stride));
  }

  SoftmaxArgs softmax;
  softmax.n = n;
  softmax.score = score;
  softmax.score_stride = stride;
  softmax.multiplier = args.score_multiplier[head];
  softmax.exponential = args.exponential;
  softmax.high = high;
  softmax.low = low;
  softmax.plane_stride = stride;
  softmax.sum = sum;

  const Relative<Isa> relative(args, head, n, keys, memory);
  const int64_t key_block = kBlock * round_up(d, Isa::kGroup);
  const bool sees_all = attention_sees_all(args, n);

  const Range with_query = attention_queries(args, first, n);
  const Range globals = attention_global_keys(args, first, n);
  const int64_t query_row = attention_query_row(args, sequence, first);

  for (int64_t row = with_query.begin; row < with_query.end; row += kTile) {
    const int64_t rows = std::min(kTile, with_query.end - row);
    const Range own{row, row + rows};
    const AttentionSeen seen = attention_seen_by(args, globals, own, n, kBlock);
    const auto parts = parts_of(seen, n);
    Isa::pack_queries(args.query + (query_row + row) * args.query_stride + head * d,
                      args.query_stride, rows, d, queries);
    for (const Range part : parts) {
      if (part.size() == 0) continue;
      Isa::score(queries, keys + part.begin / kBlock * key_block, rows, part.size(), d,
                 score + part.begin, stride);
      relative.add(queries, row, rows, part, score, stride);
    }
    if (sees_all) {
      Isa::softmax(softmax, {0, rows});
    } else {
      softmax_by_row<Isa>(softmax, score, args, head, globals, own, n, seen);
    }

    const bool chunks = seen.first > 0 || seen.last < n || seen.near.size() > kKeyChunk;
    if (chunks) std::fill(total, total + rows * columns, 0);
    const auto mix = [&](Range chunk) {
      Isa::mix({high, low, stride}, values, rows, chunk, n, d, mixed);
      if (chunks) {
        for (int64_t c = 0; c < rows * columns; ++c) total[c] += mixed[c];
      }
    };
    for (const Range part : parts) {
      for (int64_t key = part.begin; key < part.end; key += kKeyChunk) {
        mix({key, std::min(key + kKeyChunk, part.end)});
      }
    }

    int8_t* output = args.output + (first + row) * args.output_stride + head * d;
    for (int64_t i = 0; i < rows; ++i) {
      const RowScale scale =
          row_scale(sum[i], args.output_multiplier[head], args.output_exponent[head]);
      int32_t* a = mixed + i * columns;
      if (chunks) {
        const int64_t* exact = total + i * columns;
        for (int64_t c = 0; c < d; ++c) a[c] = static_cast<int32_t>(exact[c] >> scale.drop);
      }
      Isa::store(a, d, scale, args.zero_point, output + i * args.output_stride);
    }
  }
}

}  // namespace
}  // namespace pyqrt
