// lookup, NEON: one 32-bit load of a lane fetches both ends of an interval, two products
// interpolate. 8 numbers at a time; those left over at the end of a row go through a buffer.
#include <cstring>

#include "fixed/fixed_neon.h"
#include "ops/lookup/lookup.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 8;

void step(const int16_t* table, const int16_t* input, int16_t* output) {
  const uint16x8_t u = vreinterpretq_u16_s16(veorq_s16(vld1q_s16(input), vdupq_n_s16(INT16_MIN)));
  uint16_t interval[kLanes];
  vst1q_u16(interval, vshrq_n_u16(u, 7));
  int32_t ends[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) std::memcpy(&ends[i], table + interval[i], sizeof ends[i]);
  const int16x8_t first = vreinterpretq_s16_s32(vld1q_s32(ends));
  const int16x8_t second = vreinterpretq_s16_s32(vld1q_s32(ends + 4));
  const int16x8_t left = vuzp1q_s16(first, second);
  const int16x8_t right = vuzp2q_s16(first, second);
  const int16x8_t f = vreinterpretq_s16_u16(vandq_u16(u, vdupq_n_u16(127)));
  const int16x8_t rest = vsubq_s16(vdupq_n_s16(128), f);
  const int32x4_t low = vmlal_s16(vmull_s16(vget_low_s16(left), vget_low_s16(rest)),
                                  vget_low_s16(right), vget_low_s16(f));
  const int32x4_t high = vmlal_high_s16(vmull_high_s16(left, rest), right, f);
  vst1q_s16(output, vrshrn_high_n_s32(vrshrn_n_s32(low, 7), high, 7));
}

}  // namespace

void lookup_neon(const LookupArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* input = args.input + i * args.input_stride;
    int16_t* output = args.output + i * args.output_stride;
    int64_t j = 0;
    for (; j + kLanes <= args.width; j += kLanes) step(args.table, input + j, output + j);
    if (j < args.width) {
      int16_t last[kLanes] = {};
      const std::size_t bytes = static_cast<std::size_t>(args.width - j) * sizeof(int16_t);
      std::memcpy(last, input + j, bytes);
      step(args.table, last, last);
      std::memcpy(output + j, last, bytes);
    }
  }
}

}  // namespace pyqrt
