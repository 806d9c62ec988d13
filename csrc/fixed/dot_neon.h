// Dot products of rows of int8 by 16 channels laid out as [group][16][4], the layout of weights
// (ops/linear/linear.h), for each generation of NEON. Exact: the caller bounds the int32 sums, and
// no operand is -128 on both sides.
//
//   kTile                                rows of a register tile
//   kGrain                               rows that lie together; tiles begin at multiples of it
//   put(plane, stride, row, at, q)       packs inputs [at, at + 16) of a row; at is a multiple of
//   16 multiply<kRows>(rows, stride, weight, groups, to, to_stride)    kRows x 16 sums
//
// `stride` is bytes per packed row, a multiple of 16 that covers the row. In an anonymous
// namespace, because it is compiled once per instruction set.
#pragma once

#include <arm_neon.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/types.h"

namespace pyqrt {
namespace {

constexpr int64_t kDotVector = 16;  // bytes
constexpr int64_t kDotChannels = 16;
constexpr int64_t kDotGroup = 4;                        // inputs of a group
constexpr int64_t kDotStep = kDotChannels * kDotGroup;  // bytes of weights per group

// The first `count` of 16 elements, zeros after them.
[[maybe_unused]] int8x16_t load_first(const int8_t* from, int64_t count) {
  if (count >= kDotVector) return vld1q_s8(from);
  int8_t bytes[kDotVector] = {};
  std::memcpy(bytes, from, static_cast<std::size_t>(count));
  return vld1q_s8(bytes);
}

// Loads stay on their side of it: GCC otherwise reads far ahead, runs out of registers, and moves
// sums to the stack.
inline void keep_loads_here() {
  asm volatile("" ::: "memory");
}

// A group of a row in every lane.
inline int8x16_t load_group(const int8_t* from) {
  int32_t group;
  std::memcpy(&group, from, sizeof group);
  return vreinterpretq_s8_s32(vdupq_n_s32(group));
}

// Rows that lie one after the other.
struct PlainRows {
  static constexpr int kGrain = 1;
  static void put(int8_t* plane, int64_t stride, int64_t row, int64_t at, int8x16_t q) {
    vst1q_s8(plane + row * stride + at, q);
  }
};

// Any AArch64: two products of bytes fit int16 (2 * 127 * 128 < 2^15), pairs of which are then
// added to int32. Lanes: two per channel, added at the end. Eight channels at a time.
struct DotLong : PlainRows {
  static constexpr int kTile = 4;

  // The group at `row` in every lane; moves on to the next. With the intrinsic, GCC adds up the
  // address of every group. Volatile, like the additions below, so that they stay in order: GCC
  // otherwise works on all rows at once and runs out of registers.
  static int8x16_t next_group(const int8_t*& row) {
    int8x16_t group;
    asm volatile("ld1r {%0.4s}, [%1], #4" : "=w"(group), "+r"(row) : : "memory");
    return group;
  }

  static void add_pairs(int32x4_t& sum, int16x8_t products) {
    asm volatile("sadalp %0.4s, %1.8h" : "+w"(sum) : "w"(products));
  }

  template <int kRows>
  static void multiply(const int8_t* rows, int64_t stride, const int8_t* weight, int64_t groups,
                       int32_t* to, int64_t to_stride) {
    for (int half = 0; half < 2; ++half) {
      const int8_t* w = weight + half * 2 * kDotVector;
      const int8_t* row[kRows];
      int32x4_t sum[kRows][4];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        row[r] = rows + r * stride;
        sum[r][0] = sum[r][1] = sum[r][2] = sum[r][3] = vdupq_n_s32(0);
      }
      const int8_t* const last = w + groups / 2 * 2 * kDotStep;
      while (w != last) {
        const int8x16_t one[2] = {vld1q_s8(w), vld1q_s8(w + kDotVector)};
        const int8x16_t two[2] = {vld1q_s8(w + kDotStep), vld1q_s8(w + kDotStep + kDotVector)};
        w += 2 * kDotStep;
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const int8x16_t q = next_group(row[r]);
          const int8x16_t next = next_group(row[r]);
#pragma GCC unroll 2
          for (int c = 0; c < 2; ++c) {
            int16x8_t low = vmull_s8(vget_low_s8(one[c]), vget_low_s8(q));
            int16x8_t high = vmull_high_s8(one[c], q);
            low = vmlal_s8(low, vget_low_s8(two[c]), vget_low_s8(next));
            high = vmlal_high_s8(high, two[c], next);
            add_pairs(sum[r][2 * c], low);
            add_pairs(sum[r][2 * c + 1], high);
          }
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        if (groups % 2 != 0) {
          const int8x16_t q = next_group(row[r]);
#pragma GCC unroll 2
          for (int c = 0; c < 2; ++c) {
            const int8x16_t one = vld1q_s8(w + c * kDotVector);
            add_pairs(sum[r][2 * c], vmull_s8(vget_low_s8(one), vget_low_s8(q)));
            add_pairs(sum[r][2 * c + 1], vmull_high_s8(one, q));
          }
        }
#pragma GCC unroll 2
        for (int c = 0; c < 2; ++c) {
          vst1q_s32(to + r * to_stride + 8 * half + 4 * c,
                    vpaddq_s32(sum[r][2 * c], sum[r][2 * c + 1]));
        }
      }
    }
  }
};

#if defined(__ARM_FEATURE_DOTPROD)
// Armv8.2 dot product: SDOT of 16 channels with the group in one lane of a row.
struct DotLane : PlainRows {
  static constexpr int kTile = 4;

  template <int kLane, int kRows>
  static void add_group(int32x4_t (&sum)[kRows][4], const int8_t* weight,
                        const int8x16_t (&q)[kRows]) {
    keep_loads_here();
    int8x16_t w[4];
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) w[c] = vld1q_s8(weight + kLane * kDotStep + c * kDotVector);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) sum[r][c] = vdotq_laneq_s32(sum[r][c], w[c], q[r], kLane);
    }
  }

  template <int kRows>
  static void multiply(const int8_t* rows, int64_t stride, const int8_t* weight, int64_t groups,
                       int32_t* to, int64_t to_stride) {
    int32x4_t sum[kRows][4];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = sum[r][2] = sum[r][3] = vdupq_n_s32(0);
    int8x16_t q[kRows];
    int64_t g = 0;
    for (; g + 4 <= groups; g += 4) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) q[r] = vld1q_s8(rows + r * stride + g * kDotGroup);
      const int8_t* const four = weight + g * kDotStep;
      add_group<0>(sum, four, q);
      add_group<1>(sum, four, q);
      add_group<2>(sum, four, q);
      add_group<3>(sum, four, q);
    }
    for (; g < groups; ++g) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) q[r] = load_group(rows + r * stride + g * kDotGroup);
      add_group<0>(sum, weight + g * kDotStep, q);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) vst1q_s32(to + r * to_stride + 4 * c, sum[r][c]);
    }
  }
};
#endif

#if defined(__ARM_FEATURE_MATMUL_INT8)
// Armv8.6 int8 matrix products: SMMLA of two rows by two channels over two groups, which two ZIPs
// bring together from the weights as they lie. Eight channels at a time.
struct DotMatrix {
  static constexpr int kTile = 12;
  static constexpr int kGrain = 2;

  // Eight inputs of an even row, eight of the odd one.
  static void put(int8_t* plane, int64_t stride, int64_t row, int64_t at, int8x16_t q) {
    int8_t* const to = plane + (row - row % 2) * stride + 2 * at + 8 * (row % 2);
    vst1_s8(to, vget_low_s8(q));
    vst1_s8(to + 16, vget_high_s8(q));
  }

  template <int kPairs>
  static void add_groups(int32x4_t (&sum)[kPairs][4], const int8_t* rows, int64_t pair_stride,
                         const int8x16_t (&w)[2], const int8x16_t (&next)[2]) {
    int8x16_t b[4];
#pragma GCC unroll 2
    for (int c = 0; c < 2; ++c) {
      const int32x4_t left = vreinterpretq_s32_s8(w[c]);
      const int32x4_t right = vreinterpretq_s32_s8(next[c]);
      b[2 * c] = vreinterpretq_s8_s32(vzip1q_s32(left, right));
      b[2 * c + 1] = vreinterpretq_s8_s32(vzip2q_s32(left, right));
    }
#pragma GCC unroll 6
    for (int p = 0; p < kPairs; ++p) {
      keep_loads_here();
      const int8x16_t q = vld1q_s8(rows + p * pair_stride);
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) sum[p][c] = vmmlaq_s32(sum[p][c], q, b[c]);
    }
  }

  template <int kRows>
  static void multiply(const int8_t* rows, int64_t stride, const int8_t* weight, int64_t groups,
                       int32_t* to, int64_t to_stride) {
    constexpr int kPairs = (kRows + 1) / 2;
    for (int half = 0; half < 2; ++half) {
      const int8_t* w = weight + half * 2 * kDotVector;
      const int8_t* q = rows;
      int32x4_t sum[kPairs][4];
#pragma GCC unroll 6
      for (int p = 0; p < kPairs; ++p) {
        sum[p][0] = sum[p][1] = sum[p][2] = sum[p][3] = vdupq_n_s32(0);
      }
      const auto load = [](const int8_t* from) { return vld1q_s8(from); };
      int64_t g = 0;
      for (; g + 2 <= groups; g += 2) {
        add_groups<kPairs>(sum, q, 2 * stride, {load(w), load(w + kDotVector)},
                           {load(w + kDotStep), load(w + kDotStep + kDotVector)});
        w += 2 * kDotStep;
        q += 4 * kDotGroup;
      }
      if (g < groups) {
        const int8x16_t zero = vdupq_n_s8(0);
        add_groups<kPairs>(sum, q, 2 * stride, {load(w), load(w + kDotVector)}, {zero, zero});
      }
#pragma GCC unroll 6
      for (int p = 0; p < kPairs; ++p) {
#pragma GCC unroll 2
        for (int c = 0; c < 2; ++c) {
          const int64x2_t left = vreinterpretq_s64_s32(sum[p][2 * c]);
          const int64x2_t right = vreinterpretq_s64_s32(sum[p][2 * c + 1]);
          int32_t* const even = to + 2 * p * to_stride + 8 * half + 4 * c;
          vst1q_s32(even, vreinterpretq_s32_s64(vzip1q_s64(left, right)));
          if (2 * p + 1 < kRows) {
            vst1q_s32(even + to_stride, vreinterpretq_s32_s64(vzip2q_s64(left, right)));
          }
        }
      }
    }
  }
};
#endif

using DotMultiply = void(const int8_t*, int64_t, const int8_t*, int64_t, int32_t*, int64_t);

template <class Dot, int... kRows>
constexpr std::array<DotMultiply*, sizeof...(kRows)> dot_heights(
    std::integer_sequence<int, kRows...>) {
  return {Dot::template multiply<kRows + 1>...};
}

// Any number of packed rows by 16 channels, in tiles of nearly equal height: low ones spend their
// time on reading the weights.
template <class Dot>
void dot_rows(const int8_t* plane, int64_t stride, int64_t rows, const int8_t* weight,
              int64_t groups, int32_t* to, int64_t to_stride) {
  constexpr auto kMultiply = dot_heights<Dot>(std::make_integer_sequence<int, Dot::kTile>());
  const int64_t tiles = ceil_div(rows, Dot::kTile);
  const int64_t grains = ceil_div(rows, Dot::kGrain);
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t begin = grains * t / tiles * Dot::kGrain;
    const int64_t end = std::min(grains * (t + 1) / tiles * Dot::kGrain, rows);
    kMultiply[static_cast<std::size_t>(end - begin - 1)](plane + begin * stride, stride, weight,
                                                         groups, to + begin * to_stride, to_stride);
  }
}

// Packs a row of int8.
template <class Dot>
void put_row(const int8_t* row, int64_t count, int8_t* plane, int64_t stride, int64_t index) {
  for (int64_t at = 0; at < count; at += kDotVector) {
    Dot::put(plane, stride, index, at, load_first(row + at, count - at));
  }
}

}  // namespace
}  // namespace pyqrt
