// What the vector variants share: the walk over heads, tiles of queries and chunks of keys, the
// scratch memory, and the factor of each row. A variant supplies the rest as a struct `Isa`:
//
//   Key, Value, Query              element types of the packed operands
//   kGroup                         elements that one lane of its dot product adds up
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
#include <cstring>

#include "fixed/fixed.h"
#include "ops/attention/attention.h"
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

// out = sat8(rshr64(A * factor, shift) + zero_point), for an A without its low `drop` bits.
struct RowScale {
  int32_t factor;
  int shift;
  int drop;
};
inline RowScale row_scale(int32_t sum, int32_t multiplier, int32_t exponent) {
  const uint32_t length = static_cast<uint32_t>(sum);
  const int b = fixed::bit_length(length);
  const int drop = std::max(0, b - 24);
  const uint32_t mantissa = b >= 16 ? length >> (b - 16) : length << (16 - b);
  return {static_cast<int32_t>(0xffffffffu / mantissa) * multiplier, b + 30 - exponent - drop,
          drop};
}

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

template <class Isa>
void attend(const AttentionArgs& args, int64_t item, void* scratch) {
  const int64_t head = item % args.heads;
  const int32_t* sequence = args.offsets + item / args.heads;
  const int64_t first = sequence[0];
  const int64_t n = sequence[1] - first;
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

  for (int64_t row = 0; row < n; row += kTile) {
    const int64_t rows = std::min(kTile, n - row);
    Isa::pack_queries(args.query + (first + row) * args.query_stride + head * d, args.query_stride,
                      rows, d, queries);
    Isa::score(queries, keys, rows, n, d, score, stride);
    Isa::softmax(softmax, {0, rows});

    if (n > kKeyChunk) std::fill(total, total + rows * columns, 0);
    for (int64_t key = 0; key < n; key += kKeyChunk) {
      const Range chunk{key, std::min(key + kKeyChunk, n)};
      Isa::mix({high, low, stride}, values, rows, chunk, n, d, mixed);
      if (n > kKeyChunk) {
        for (int64_t c = 0; c < rows * columns; ++c) total[c] += mixed[c];
      }
    }

    int8_t* output = args.output + (first + row) * args.output_stride + head * d;
    for (int64_t i = 0; i < rows; ++i) {
      const RowScale scale =
          row_scale(sum[i], args.output_multiplier[head], args.output_exponent[head]);
      int32_t* a = mixed + i * columns;
      if (n > kKeyChunk) {
        const int64_t* exact = total + i * columns;
        for (int64_t c = 0; c < d; ++c) a[c] = static_cast<int32_t>(exact[c] >> scale.drop);
      }
      Isa::store(a, d, scale, args.zero_point, output + i * args.output_stride);
    }
  }
}

}  // namespace
}  // namespace pyqrt
