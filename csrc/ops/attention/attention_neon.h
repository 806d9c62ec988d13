// What the NEON variants of attention share: everything but the product, which is one of
// fixed/dot_neon.h. Keys and values are packed like weights, [block][group][16][4]: keys with
// groups of dimensions, values with groups of keys.
#pragma once

#include "fixed/dot_neon.h"
#include "fixed/fixed_neon.h"
#include "ops/attention/attention_tiles.h"

namespace pyqrt {
namespace {

template <class Dot>
struct NeonAttention {
  using Query = int8_t;
  using Key = int8_t;
  using Value = int8_t;
  static constexpr int64_t kGroup = kDotVector;  // rows are packed in whole vectors
  static constexpr int32_t kKeyOffset = 0;

  static void softmax(const SoftmaxArgs& args, Range rows) { softmax_neon(args, rows); }

  static int64_t groups_of(int64_t count) { return ceil_div(count, kDotGroup); }

  // Bytes of a packed block of keys.
  static int64_t key_block(int64_t d) { return kBlock * round_up(d, kGroup); }

  static void pack_queries(const int8_t* from, int64_t stride, int64_t rows, int64_t d,
                           int8_t* to) {
    for (int64_t i = 0; i < rows; ++i) {
      put_row<Dot>(from + i * stride, d, to, round_up(d, kDotVector), i);
    }
  }

  // 4 keys x 16 columns at a time: a 4 x 4 transposition of groups.
  static void pack_keys(const int8_t* from, int64_t stride, int64_t n, int64_t d, int8_t* to) {
    const int64_t groups = groups_of(d);
    for (int64_t key = 0; key < round_up(n, kBlock); key += 4) {
      int8_t* const block = to + key / kBlock * key_block(d) + key % kBlock * kDotGroup;
      for (int64_t column = 0; column < d; column += kDotVector) {
        int32x4_t x[4];
        for (int64_t i = 0; i < 4; ++i) {
          // Rows beyond the last repeat it: their scores are never read.
          const int8_t* row = from + std::min(key + i, n - 1) * stride;
          x[i] = vreinterpretq_s32_s8(load_first(row + column, d - column));
        }
        const int64x2_t low01 = vreinterpretq_s64_s32(vzip1q_s32(x[0], x[1]));
        const int64x2_t low23 = vreinterpretq_s64_s32(vzip1q_s32(x[2], x[3]));
        const int64x2_t high01 = vreinterpretq_s64_s32(vzip2q_s32(x[0], x[1]));
        const int64x2_t high23 = vreinterpretq_s64_s32(vzip2q_s32(x[2], x[3]));
        const int64x2_t group[4] = {vzip1q_s64(low01, low23), vzip2q_s64(low01, low23),
                                    vzip1q_s64(high01, high23), vzip2q_s64(high01, high23)};
        const int64_t first = column / kDotGroup;
        for (int64_t g = first; g < std::min(first + 4, groups); ++g) {
          vst1q_s8(block + g * kDotStep, vreinterpretq_s8_s64(group[g - first]));
        }
      }
    }
  }

  // 4 keys x 16 columns at a time. Keys beyond the last weigh nothing: their values are zero.
  static void pack_values(const int8_t* from, int64_t stride, int64_t n, int64_t d, int8_t* to) {
    for (int64_t column = 0; column < d; column += kBlock) {
      for (int64_t key = 0; key < n; key += kDotGroup) {
        int8x16x4_t x;
        for (int64_t i = 0; i < 4; ++i) {
          x.val[i] = key + i < n ? load_first(from + (key + i) * stride + column, d - column)
                                 : vdupq_n_s8(0);
        }
        vst4q_s8(to, x);
        to += kDotStep;
      }
    }
  }

  static void score(const int8_t* queries, const int8_t* keys, int64_t rows, int64_t n, int64_t d,
                    int32_t* to, int64_t stride) {
    const int64_t groups = groups_of(d);
    for (int64_t key = 0; key < n; key += kBlock) {
      dot_rows<Dot>(queries, round_up(d, kDotVector), rows, keys + key / kBlock * key_block(d),
                    groups, to + key, stride);
    }
  }

  // Both planes of a tile's rows, packed; then A = 128 * high + low, block after block.
  static void mix(const TilePlanes& planes, const int8_t* values, int64_t rows, Range chunk,
                  int64_t n, int64_t d, int32_t* to) {
    alignas(kAlignment) int8_t packed[2][Dot::kTile * kKeyChunk];
    const int64_t columns = round_up(d, kBlock);
    const int64_t stride = round_up(chunk.size(), kDotVector);
    for (int64_t row = 0; row < rows; row += Dot::kTile) {
      const int64_t count = std::min<int64_t>(Dot::kTile, rows - row);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t from = (row + i) * planes.stride + chunk.begin;
        const uint8_t* const plane[2] = {planes.high + from, planes.low + from};
        for (int p = 0; p < 2; ++p) {
          put_row<Dot>(reinterpret_cast<const int8_t*>(plane[p]), chunk.size(), packed[p], stride,
                       i);
        }
      }
      for (int64_t c = 0; c < columns; c += kBlock) {
        const int64_t group = c / kBlock * groups_of(n) + chunk.begin / kDotGroup;
        int32_t sums[2][Dot::kTile][kBlock];
        for (int p = 0; p < 2; ++p) {
          dot_rows<Dot>(packed[p], stride, count, values + group * kDotStep,
                        groups_of(chunk.size()), sums[p][0], kBlock);
        }
        for (int64_t i = 0; i < count; ++i) {
          int32_t* const out = to + (row + i) * columns + c;
          for (int64_t j = 0; j < kBlock; j += 4) {
            const int32x4_t high = vshlq_n_s32(vld1q_s32(sums[0][i] + j), 7);
            vst1q_s32(out + j, vaddq_s32(high, vld1q_s32(sums[1][i] + j)));
          }
        }
      }
    }
  }

  static void store(const int32_t* mixed, int64_t d, const RowScale& scale, int32_t zero_point,
                    int8_t* to) {
    const int32x4_t factor = vdupq_n_s32(scale.factor);
    const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(zero_point));
    const auto four = [&](const int32_t* from) {
      const int32x4_t a = vld1q_s32(from);
      const int64x2_t low = vmull_s32(vget_low_s32(a), vget_low_s32(factor));
      const int64x2_t high = vmull_high_s32(a, factor);
      return vmovn_high_s64(vmovn_s64(neon::rshr64(low, scale.shift)),
                            neon::rshr64(high, scale.shift));
    };
    // Saturating to int16 on the way changes nothing, |zero_point| being small.
    const auto eight = [&](const int32_t* from) {
      return vqaddq_s16(vqmovn_high_s32(vqmovn_s32(four(from)), four(from + 4)), zero);
    };
    for (int64_t c = 0; c < d; c += kBlock) {
      const int8x16_t bytes = neon::pack_sat8(eight(mixed + c), eight(mixed + c + 8));
      if (d - c >= kBlock) {
        vst1q_s8(to + c, bytes);
      } else {
        int8_t last[kBlock];
        vst1q_s8(last, bytes);
        std::memcpy(to + c, last, static_cast<std::size_t>(d - c));
      }
    }
  }
};

template <class Dot>
void attend_items(const AttentionArgs& args, Range items, void* scratch) {
  for (int64_t item = items.begin; item < items.end; ++item) {
    attend<NeonAttention<Dot>>(args, item, scratch);
  }
}

}  // namespace
}  // namespace pyqrt
