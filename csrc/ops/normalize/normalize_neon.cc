// normalize, NEON: 8 columns at a time, the tail in scalar code.
#include "fixed/fixed_neon.h"
#include "ops/normalize/normalize_row.h"

namespace pyqrt {
namespace {

uint64_t sum_of_squares(const int16_t* input, int64_t width) {
  uint64x2_t sum = vdupq_n_u64(0);
  int64_t j = 0;
  for (; j + 8 <= width; j += 8) {
    const int16x8_t x = vld1q_s16(input + j);
    const int32x4_t two = vmlal_high_s16(vmull_s16(vget_low_s16(x), vget_low_s16(x)), x, x);
    sum = vpadalq_u32(sum, vreinterpretq_u32_s32(two));
  }
  uint64_t total = vaddvq_u64(sum);
  for (; j < width; ++j) total += static_cast<uint64_t>(int32_t{input[j]} * input[j]);
  return total;
}

// Four values, the sign put back before the rounding, which is half up. The inverse needs all of
// 32 bits, unsigned.
void step(int32x4_t x, const NormalizeRow& row, int32_t* output) {
  const uint32x4_t magnitude = vreinterpretq_u32_s32(vabsq_s32(x));
  const uint32x2_t inverse = vdup_n_u32(row.inverse);
  const int32x4_t sign = vshrq_n_s32(x, 31);
  const auto rounded = [&row](uint64x2_t product, int64x2_t minus) {
    const int64x2_t value = veorq_s64(vreinterpretq_s64_u64(product), minus);
    return neon::rshr64(vsubq_s64(value, minus), row.shift);
  };
  const int64x2_t low =
      rounded(vmull_u32(vget_low_u32(magnitude), inverse), vmovl_s32(vget_low_s32(sign)));
  const int64x2_t high =
      rounded(vmull_u32(vget_high_u32(magnitude), inverse), vmovl_high_s32(sign));
  vst1q_s32(output,
            neon::clamp(vqmovn_high_s64(vqmovn_s64(low), high), -kNormalizeOne, kNormalizeOne));
}

}  // namespace

void normalize_neon(const NormalizeArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* input = args.input + i * args.input_stride;
    int32_t* output = args.output + i * args.output_stride;
    const NormalizeRow row = normalize_row(sum_of_squares(input, args.width));
    int64_t j = 0;
    for (; j + 8 <= args.width; j += 8) {
      const int16x8_t x = vld1q_s16(input + j);
      step(vmovl_s16(vget_low_s16(x)), row, output + j);
      step(vmovl_high_s16(x), row, output + j + 4);
    }
    for (; j < args.width; ++j) output[j] = normalize_value(input[j], row);
  }
}

}  // namespace pyqrt
