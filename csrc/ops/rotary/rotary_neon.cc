// rotary, NEON: 8 pairs at a time, two widening products for each of their ends.
#include "fixed/fixed_neon.h"
#include "ops/rotary/rotary_rows.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 8;

int16x8_t sat16(int32x4_t low, int32x4_t high, int shift) {
  return neon::pack_sat16(neon::rshr(low, shift), neon::rshr(high, shift));
}

// -> int8, the first of each pair and then the second.
int8x16_t turned(int16x8_t cosine, int16x8_t sine, int16x8_t first, int16x8_t second, int shift) {
  const int32x4_t first_low = vmlsl_s16(vmull_s16(vget_low_s16(first), vget_low_s16(cosine)),
                                        vget_low_s16(second), vget_low_s16(sine));
  const int32x4_t first_high = vmlsl_high_s16(vmull_high_s16(first, cosine), second, sine);
  const int32x4_t second_low = vmlal_s16(vmull_s16(vget_low_s16(second), vget_low_s16(cosine)),
                                         vget_low_s16(first), vget_low_s16(sine));
  const int32x4_t second_high = vmlal_high_s16(vmull_high_s16(second, cosine), first, sine);
  return neon::pack_sat8(sat16(first_low, first_high, shift),
                         sat16(second_low, second_high, shift));
}

}  // namespace

void rotary_neon(const RotaryArgs& args, Range rows) {
  struct Turn {
    int16x8_t cosine;
    int16x8_t sine;
  };
  const auto make_turn = [](const int16_t* cosine, const int16_t* sine) {
    return Turn{vld1q_s16(cosine), vld1q_s16(sine)};
  };
  const auto turn_pairs = [&](const Turn& turn, const int16_t* first, const int16_t* second,
                              int8_t* output, int8_t* output_second) {
    const int8x16_t bytes =
        turned(turn.cosine, turn.sine, vld1q_s16(first), vld1q_s16(second), args.shift);
    vst1_s8(output, vget_low_s8(bytes));
    vst1_s8(output_second, vget_high_s8(bytes));
  };
  // rshr(x 2^14, shift) = mulr(x, 2^(29 - shift))
  const int16x8_t scale = vdupq_n_s16(static_cast<int16_t>(1 << (29 - args.shift)));
  const auto narrow = [&](const int16_t* input, int8_t* output) {
    const int16x8_t value = neon::mulr(vld1q_s16(input), scale);
    vst1_s8(output, vget_low_s8(neon::pack_sat8(value, value)));
  };
  rotary_rows(
      args, rows, [&](int64_t i) { rotary_turn_row<kLanes>(args, i, make_turn, turn_pairs); },
      [&](const int16_t* input, int8_t* output, int64_t columns) {
        rotary_narrow<kLanes>(input, output, columns, narrow);
      });
}

}  // namespace pyqrt
