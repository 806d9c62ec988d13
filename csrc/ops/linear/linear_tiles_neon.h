// What the NEON variants of linear share: everything but the product, which is one of
// fixed/dot_neon.h. README.md explains the shape. In an anonymous namespace, because it is compiled
// once per instruction set.
#pragma once

#include "fixed/dot_neon.h"
#include "fixed/fixed_neon.h"
#include "ops/linear/linear.h"

namespace pyqrt {
namespace {

constexpr int kQuarters = 4;  // vectors of 4 int32 per block

// Sums of products of a chunk of rows by the channels of a block.
struct alignas(kAlignment) Sums {
  int32_t value[kLinearRowChunk][kLinearBlock];
};

// ---- Epilogue ---------------------------------------------------------------------------------

// What the epilogue reads per channel, for the channels of one block.
struct Columns {
  int64_t first;
  int64_t count;  // of valid channels
  int32x4_t bias[kQuarters];
  neon::Scale scale[kQuarters];
  int16x8_t gelu_multiplier[2];
};

Columns load_columns(const LinearArgs& args, int64_t first, int64_t end) {
  Columns columns;
  columns.first = first;
  columns.count = std::min<int64_t>(end - first, kLinearBlock);
  for (int v = 0; v < kQuarters; ++v) {
    const int64_t at = first + 4 * v;
    columns.bias[v] = vld1q_s32(args.bias + at);
    columns.scale[v] =
        neon::make_scale(vld1q_s32(args.multiplier + at), vld1q_s32(args.shift + at));
  }
  for (int h = 0; h < 2; ++h) {
    columns.gelu_multiplier[h] = args.epilogue == LinearEpilogue::kGeluS8
                                     ? vld1q_s16(args.gelu_multiplier + first + 8 * h)
                                     : vdupq_n_s16(0);
  }
  return columns;
}

// s16 input, q = 256 * high + low + 128: the low sum lacks 128 * weight_sum. The whole is
// 256 * high + low, 40 bits wide. With low = 256 * carry + rest it is 256 * (high + carry) + rest,
// and either the shift leaves the first term whole, or the rounding constant is a multiple of 256
// and the rest cannot matter.
void combine_planes(const LinearArgs& args, int64_t first, int64_t rows, const Sums& low,
                    Sums& high) {
  for (int v = 0; v < kQuarters; ++v) {
    const int32x4_t correction = vshlq_n_s32(vld1q_s32(args.weight_sum + first + 4 * v), 7);
    for (int64_t r = 0; r < rows; ++r) {
      const int32x4_t l = vaddq_s32(vld1q_s32(&low.value[r][4 * v]), correction);
      const int32x4_t upper = vsraq_n_s32(vld1q_s32(&high.value[r][4 * v]), l, 8);
      const int32x4_t rest = vandq_s32(l, vdupq_n_s32(255));
      vst1q_s32(&high.value[r][4 * v],
                vaddq_s32(neon::rshr(upper, args.pre_shift - 8), neon::rshr(rest, args.pre_shift)));
    }
  }
}

// The first `count` of 16 elements.
template <class T>
void store_first(T* to, const T (&from)[kLinearBlock], int64_t count) {
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
}

struct Words {
  int16x8_t half[2];
};

void store_s16(int16_t* to, const Words& value, int64_t count) {
  int16_t all[kLinearBlock];
  int16_t* const target = count == kLinearBlock ? to : all;
  vst1q_s16(target, value.half[0]);
  vst1q_s16(target + 8, value.half[1]);
  if (count != kLinearBlock) store_first(to, all, count);
}

// sat8(value + zero_point) of 16 channels. Saturating to int16 on the way changes nothing,
// |zero_point| being small.
void store_s8(int8_t* to, const Words& value, int32_t zero_point, int64_t count) {
  const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(zero_point));
  const int8x16_t bytes =
      neon::pack_sat8(vqaddq_s16(value.half[0], zero), vqaddq_s16(value.half[1], zero));
  if (count == kLinearBlock) return vst1q_s8(to, bytes);
  int8_t all[kLinearBlock];
  vst1q_s8(all, bytes);
  store_first(to, all, count);
}

Words load_s16(const int16_t* from, int64_t count) {
  if (count == kLinearBlock) return {{vld1q_s16(from), vld1q_s16(from + 8)}};
  int16_t all[kLinearBlock] = {};
  std::memcpy(all, from, static_cast<std::size_t>(count) * sizeof(int16_t));
  return {{vld1q_s16(all), vld1q_s16(all + 8)}};
}

Words pack_sat16(const int32x4_t (&r)[kQuarters]) {
  return {{neon::pack_sat16(r[0], r[1]), neon::pack_sat16(r[2], r[3])}};
}

template <LinearEpilogue kEpilogue>
void finish_row(const LinearArgs& args, const Columns& columns, const neon::Gelu& gelu, int64_t i,
                const int32_t* sum) {
  const int64_t at = i * args.output_stride + columns.first;
  int32x4_t r[kQuarters];
  for (int v = 0; v < kQuarters; ++v) {
    r[v] = neon::requantize(vaddq_s32(vld1q_s32(sum + 4 * v), columns.bias[v]), columns.scale[v]);
  }
  if constexpr (kEpilogue == LinearEpilogue::kRequantizeS8) {
    store_s8(static_cast<int8_t*>(args.output) + at, pack_sat16(r), args.zero_point, columns.count);
  } else if constexpr (kEpilogue == LinearEpilogue::kGeluS8) {
    Words g = pack_sat16(r);
    for (int h = 0; h < 2; ++h) {
      g.half[h] = neon::mul_rshr(gelu(g.half[h]), columns.gelu_multiplier[h], args.gelu_shift);
    }
    store_s8(static_cast<int8_t*>(args.output) + at, g, args.zero_point, columns.count);
  } else if constexpr (kEpilogue == LinearEpilogue::kRequantizeS32) {
    int32_t all[kLinearBlock];
    for (int v = 0; v < kQuarters; ++v) vst1q_s32(all + 4 * v, r[v]);
    store_first(static_cast<int32_t*>(args.output) + at, all, columns.count);
  } else {
    if constexpr (kEpilogue == LinearEpilogue::kResidualS16) {
      const Words residual =
          load_s16(args.residual + i * args.residual_stride + columns.first, columns.count);
      const int16x8_t multiplier = vdupq_n_s16(static_cast<int16_t>(args.residual_multiplier));
      for (int h = 0; h < 2; ++h) {
        const int32x4_t low = vmull_s16(vget_low_s16(residual.half[h]), vget_low_s16(multiplier));
        const int32x4_t high = vmull_high_s16(residual.half[h], multiplier);
        r[2 * h] = vaddq_s32(r[2 * h], neon::rshr(low, args.residual_shift));
        r[2 * h + 1] = vaddq_s32(r[2 * h + 1], neon::rshr(high, args.residual_shift));
      }
    }
    Words value = pack_sat16(r);
    if constexpr (kEpilogue == LinearEpilogue::kGeluS16) {
      for (int16x8_t& half : value.half) half = gelu(half);
    }
    store_s16(static_cast<int16_t*>(args.output) + at, value, columns.count);
  }
}

template <LinearEpilogue kEpilogue>
void finish_rows(const LinearArgs& args, const Columns& columns, Range rows, const Sums& sums) {
  const neon::Gelu gelu(args.gelu);
  for (int64_t r = 0; r < rows.size(); ++r) {
    finish_row<kEpilogue>(args, columns, gelu, rows.begin + r, sums.value[r]);
  }
}

void finish(const LinearArgs& args, const Columns& columns, Range rows, const Sums& sums) {
  switch (args.epilogue) {
    case LinearEpilogue::kRequantizeS8:
      return finish_rows<LinearEpilogue::kRequantizeS8>(args, columns, rows, sums);
    case LinearEpilogue::kRequantizeS16:
      return finish_rows<LinearEpilogue::kRequantizeS16>(args, columns, rows, sums);
    case LinearEpilogue::kRequantizeS32:
      return finish_rows<LinearEpilogue::kRequantizeS32>(args, columns, rows, sums);
    case LinearEpilogue::kGeluS8:
      return finish_rows<LinearEpilogue::kGeluS8>(args, columns, rows, sums);
    case LinearEpilogue::kGeluS16:
      return finish_rows<LinearEpilogue::kGeluS16>(args, columns, rows, sums);
    case LinearEpilogue::kResidualS16:
      return finish_rows<LinearEpilogue::kResidualS16>(args, columns, rows, sums);
  }
}

// ---- Tiles ------------------------------------------------------------------------------------

// Packed rows: one plane for s8 input, for s16 the high bytes and the low ones minus 128, both
// signed.
struct Planes {
  int8_t* high;
  int8_t* low;
  int64_t stride;
};

template <class Dot>
void pack_row(const int16_t* row, int64_t k, const Planes& planes, int64_t index) {
  for (int64_t at = 0; at < k; at += kDotVector) {
    const Words q = load_s16(row + at, std::min(k - at, kDotVector));
    Dot::put(planes.high, planes.stride, index, at,
             vshrn_high_n_s16(vshrn_n_s16(q.half[0], 8), q.half[1], 8));
    const int8x16_t low = vmovn_high_s16(vmovn_s16(q.half[0]), q.half[1]);
    Dot::put(planes.low, planes.stride, index, at, veorq_s8(low, vdupq_n_s8(-128)));
  }
}

template <class Dot>
Planes pack_rows(const LinearArgs& args, Range rows, void* scratch) {
  Planes planes;
  planes.stride = round_up(args.k, kDotVector);
  planes.high = static_cast<int8_t*>(scratch);
  planes.low = planes.high + kLinearRowChunk * planes.stride;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t from = i * args.input_stride;
    if (args.input_type == DataType::kS8) {
      put_row<Dot>(static_cast<const int8_t*>(args.input) + from, args.k, planes.high,
                   planes.stride, i - rows.begin);
    } else {
      pack_row<Dot>(static_cast<const int16_t*>(args.input) + from, args.k, planes, i - rows.begin);
    }
  }
  return planes;
}

template <class Dot>
void run_tiles(const LinearArgs& args, Range rows, Range blocks, void* scratch) {
  const int64_t end = std::min(blocks.end * kLinearBlock, args.n);
  const int64_t groups = ceil_div(args.k, kLinearGroup);
  Sums sums[2];
  for (int64_t begin = rows.begin; begin < rows.end; begin += kLinearRowChunk) {
    const Range chunk{begin, std::min(begin + kLinearRowChunk, rows.end)};
    const Planes planes = pack_rows<Dot>(args, chunk, scratch);
    for (int64_t block = blocks.begin; block < blocks.end; ++block) {
      const Columns columns = load_columns(args, block * kLinearBlock, end);
      const int8_t* const weight = args.weight + block * groups * kDotStep;
      dot_rows<Dot>(planes.high, planes.stride, chunk.size(), weight, groups, sums[0].value[0],
                    kLinearBlock);
      if (args.input_type == DataType::kS16) {
        dot_rows<Dot>(planes.low, planes.stride, chunk.size(), weight, groups, sums[1].value[0],
                      kLinearBlock);
        combine_planes(args, columns.first, chunk.size(), sums[1], sums[0]);
      }
      finish(args, columns, chunk, sums[0]);
    }
  }
}

}  // namespace
}  // namespace pyqrt
