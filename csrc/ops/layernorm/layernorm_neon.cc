// layernorm, NEON: 8 columns of up to 4 rows at a time, tails in scalar code. All products are
// 16 x 16 bits, widened and accumulated in one instruction.
#include "fixed/fixed_neon.h"
#include "ops/layernorm/layernorm_row.h"

namespace pyqrt {
namespace {

struct Halves {
  int32x4_t low, high;
};

LayerNormRow statistics(const LayerNormArgs& args, int64_t index) {
  if (!args.normalize) return kLayerNormIdentity;
  const int16_t* input = args.input + index * args.input_stride;
  int32x4_t sum = vdupq_n_s32(0);
  uint64x2_t squares = vdupq_n_u64(0);
  int64_t j = 0;
  for (; j + 16 <= args.n; j += 16) {
    const int16x8_t a = vld1q_s16(input + j);
    const int16x8_t b = vld1q_s16(input + j + 8);
    sum = vpadalq_s16(vpadalq_s16(sum, a), b);
    // 4 * 32767^2 < 2^32: exact as unsigned.
    int32x4_t four = vmull_s16(vget_low_s16(a), vget_low_s16(a));
    four = vmlal_high_s16(four, a, a);
    four = vmlal_s16(four, vget_low_s16(b), vget_low_s16(b));
    four = vmlal_high_s16(four, b, b);
    squares = vpadalq_u32(squares, vreinterpretq_u32_s32(four));
  }
  int64_t total = vaddvq_s32(sum);
  int64_t total_squares = static_cast<int64_t>(vaddvq_u64(squares));
  for (; j < args.n; ++j) {
    total += input[j];
    total_squares += int32_t{input[j]} * input[j];
  }
  return layernorm_row(args, total, total_squares);
}

// a * b + c, shifted by the (negative) shift; c holds the rounding constant.
Halves multiply_add(int16x8_t a, int16x8_t b, const Halves& c, int32x4_t shift) {
  return {vshlq_s32(vmlal_s16(c.low, vget_low_s16(a), vget_low_s16(b)), shift),
          vshlq_s32(vmlal_high_s16(c.high, a, b), shift)};
}

int16x8_t normalize(int16x8_t input, const LayerNormVectorRow& row) {
  const int32x4_t offset = vdupq_n_s32(row.offset);
  const int16x8_t inverse = vdupq_n_s16(static_cast<int16_t>(row.row.inverse));
  const Halves y = multiply_add(input, inverse, {offset, offset}, vdupq_n_s32(-row.row.shift));
  return neon::pack_sat16(y.low, y.high);
}

// The gains of one output for one step, and its biases with the rounding constant in them.
struct Affine {
  int16x8_t gain;
  Halves bias;
  int32x4_t shift;

  Affine() = default;

  template <class Element>
  Affine(const LayerNormOutput<Element>& output, int64_t j)
      : gain(vld1q_s16(output.gain + j)), shift(vdupq_n_s32(-output.shift)) {
    const int32x4_t half = vdupq_n_s32(int32_t{1} << (output.shift - 1));
    bias = {vaddq_s32(vld1q_s32(output.bias + j), half),
            vaddq_s32(vld1q_s32(output.bias + j + 4), half)};
  }

  int16x8_t operator()(int16x8_t y) const {
    const Halves v = multiply_add(y, gain, bias, shift);
    return neon::pack_sat16(v.low, v.high);
  }
};

template <bool kOutput8, bool kOutput16>
void step(const LayerNormArgs& args, const LayerNormVectorRow* rows, int count, int64_t j) {
  Affine affine8, affine16;
  if constexpr (kOutput8) affine8 = Affine(args.output8, j);
  if constexpr (kOutput16) affine16 = Affine(args.output16, j);
  for (int i = 0; i < count; ++i) {
    const int16x8_t y = normalize(vld1q_s16(rows[i].input + j), rows[i]);
    if constexpr (kOutput8) {
      const int8x8_t bytes = vqmovn_s16(affine8(y));
      vst1_s8(rows[i].output8 + j, vmax_s8(bytes, vdup_n_s8(-fixed::kMaxS8)));
    }
    if constexpr (kOutput16) vst1q_s16(rows[i].output16 + j, affine16(y));
  }
}

template <bool kOutput8, bool kOutput16>
void run(const LayerNormArgs& args, Range range) {
  for (int64_t begin = range.begin; begin < range.end; begin += kLayerNormRowBlock) {
    LayerNormVectorRow rows[kLayerNormRowBlock];
    const int count = layernorm_vector_rows(
        args, {begin, range.end}, [&](int64_t index) { return statistics(args, index); }, rows);
    int64_t j = 0;
    for (; j + 8 <= args.n; j += 8) step<kOutput8, kOutput16>(args, rows, count, j);
    if (j < args.n) {
      for (int i = 0; i < count; ++i) {
        layernorm_columns(args, rows[i].index, rows[i].row, j, args.n);
      }
    }
  }
}

}  // namespace

void layernorm_neon(const LayerNormArgs& args, Range rows) {
  if (args.output8.data && args.output16.data) return run<true, true>(args, rows);
  if (args.output8.data) return run<true, false>(args, rows);
  if (args.output16.data) return run<false, true>(args, rows);
}

}  // namespace pyqrt
