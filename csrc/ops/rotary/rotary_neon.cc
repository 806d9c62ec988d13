// rotary, NEON: 8 pairs at a time, two widening products for each of their ends. Tables are loaded
// once for all heads of a row; what is left over of a head goes through a buffer.
#include <cstring>

#include "fixed/fixed_neon.h"
#include "ops/rotary/rotary.h"

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

// `pairs` pairs of every head of row i from column c on, at most 8.
void turn_columns(const RotaryArgs& args, int64_t i, int64_t c, int64_t pairs) {
  const int64_t half = args.rotated / 2;
  const int64_t entry = args.position[i] * half + c;
  const int16_t* input = args.input + i * args.input_stride + c;
  int8_t* output = args.output + i * args.output_stride + c;
  if (pairs == kLanes) {
    const int16x8_t cosine = vld1q_s16(args.cosine + entry);
    const int16x8_t sine = vld1q_s16(args.sine + entry);
    for (int64_t head = 0; head < args.heads; ++head) {
      const int8x16_t bytes =
          turned(cosine, sine, vld1q_s16(input), vld1q_s16(input + half), args.shift);
      vst1_s8(output, vget_low_s8(bytes));
      vst1_s8(output + half, vget_high_s8(bytes));
      input += args.head_dim;
      output += args.head_dim;
    }
    return;
  }
  const auto count = static_cast<std::size_t>(pairs);
  int16_t cosine[kLanes] = {};
  int16_t sine[kLanes] = {};
  std::memcpy(cosine, args.cosine + entry, count * sizeof(int16_t));
  std::memcpy(sine, args.sine + entry, count * sizeof(int16_t));
  int16_t first[kLanes] = {};
  int16_t second[kLanes] = {};
  int8_t bytes[2 * kLanes];
  for (int64_t head = 0; head < args.heads; ++head) {
    std::memcpy(first, input, count * sizeof(int16_t));
    std::memcpy(second, input + half, count * sizeof(int16_t));
    vst1q_s8(bytes, turned(vld1q_s16(cosine), vld1q_s16(sine), vld1q_s16(first), vld1q_s16(second),
                           args.shift));
    std::memcpy(output, bytes, count);
    std::memcpy(output + half, bytes + kLanes, count);
    input += args.head_dim;
    output += args.head_dim;
  }
}

// The columns of a head that are not turned: rshr(x 2^14, shift) = mulr(x, 2^(29 - shift)).
void narrow(const int16_t* input, int8_t* output, int64_t columns, int shift) {
  const int16x8_t scale = vdupq_n_s16(static_cast<int16_t>(1 << (29 - shift)));
  const auto narrowed = [&](const int16_t* x) {
    const int16x8_t value = neon::mulr(vld1q_s16(x), scale);
    return vget_low_s8(neon::pack_sat8(value, value));
  };
  int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) vst1_s8(output + c, narrowed(input + c));
  if (c < columns) {
    const auto rest = static_cast<std::size_t>(columns - c);
    int16_t last[kLanes] = {};
    int8_t bytes[kLanes];
    std::memcpy(last, input + c, rest * sizeof(int16_t));
    vst1_s8(bytes, narrowed(last));
    std::memcpy(output + c, bytes, rest);
  }
}

}  // namespace

void rotary_neon(const RotaryArgs& args, Range rows) {
  const int64_t half = args.rotated / 2;
  const int64_t rest = args.head_dim - args.rotated;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int64_t c = 0; c < half; c += kLanes) {
      turn_columns(args, i, c, half - c < kLanes ? half - c : kLanes);
    }
    if (rest == 0) continue;
    for (int64_t head = 0; head < args.heads; ++head) {
      const int64_t first = head * args.head_dim + args.rotated;
      narrow(args.input + i * args.input_stride + first,
             args.output + i * args.output_stride + first, rest, args.shift);
    }
  }
}

}  // namespace pyqrt
