// softmax, NEON: 16 scores at a time; the last ones pass through a local buffer.
#include <algorithm>
#include <cstring>
#include <limits>

#include "fixed/fixed_neon.h"
#include "ops/softmax/softmax.h"

namespace pyqrt {
namespace {

constexpr int64_t kBlock = 16;  // scores of one step: a whole vector of each plane

// What a row's exponents need, in every lane.
struct Row {
  int32x4_t maximum;
  uint32x4_t limit;
  uint32x4_t multiplier;
  neon::Exp2Neg exp2_neg;
};

// Four scores -> four products, whose high halves are the exponents.
uint16x8_t exponent(int32x4_t score, const Row& row) {
  const uint32x4_t below = vreinterpretq_u32_s32(vsubq_s32(row.maximum, score));
  return vreinterpretq_u16_u32(vmulq_u32(vminq_u32(below, row.limit), row.multiplier));
}
uint16x8_t probability(const int32_t* score, const Row& row) {
  const uint16x8_t u =
      vuzp2q_u16(exponent(vld1q_s32(score), row), exponent(vld1q_s32(score + 4), row));
  return vreinterpretq_u16_s16(row.exp2_neg(u));
}

// The planes of 16 scores; adds their probabilities to `sum`.
void step(const int32_t* score, const Row& row, uint8_t* high, uint8_t* low, uint32x4_t& sum) {
  const uint16x8_t first = probability(score, row);
  const uint16x8_t second = probability(score + 8, row);
  sum = vpadalq_u16(vpadalq_u16(sum, first), second);
  vst1q_u8(high, vshrn_high_n_u16(vshrn_n_u16(first, 7), second, 7));
  const uint8x16_t low_bytes = vmovn_high_u16(vmovn_u16(first), second);
  vst1q_u8(low, vandq_u8(low_bytes, vdupq_n_u8(127)));
}

// First pass: the maximum of a row.
int32_t row_maximum(const int32_t* score, int64_t n) {
  int32x4_t lanes[4];
  for (int32x4_t& lane : lanes) lane = vdupq_n_s32(std::numeric_limits<int32_t>::min());
  int64_t j = 0;
  for (; j + kBlock <= n; j += kBlock) {
    for (int v = 0; v < 4; ++v) lanes[v] = vmaxq_s32(lanes[v], vld1q_s32(score + j + 4 * v));
  }
  int32_t maximum =
      vmaxvq_s32(vmaxq_s32(vmaxq_s32(lanes[0], lanes[1]), vmaxq_s32(lanes[2], lanes[3])));
  for (; j < n; ++j) maximum = std::max(maximum, score[j]);
  return maximum;
}

// Second pass: the planes of a row; returns their sum.
int32_t write_planes(const SoftmaxArgs& args, int64_t i, const Row& row) {
  const int64_t n = args.n;
  const int32_t* score = args.score + i * args.score_stride;
  uint8_t* high = args.high + i * args.plane_stride;
  uint8_t* low = args.low + i * args.plane_stride;
  uint32x4_t sum = vdupq_n_u32(0);
  int64_t j = 0;
  for (; j + kBlock <= n; j += kBlock) step(score + j, row, high + j, low + j, sum);
  int32_t surplus = 0;
  if (j < n) {
    // Absent scores stand at the maximum: what they add to the sum is known.
    const std::size_t rest = static_cast<std::size_t>(n - j);
    int32_t last[kBlock];
    uint8_t last_high[kBlock], last_low[kBlock];
    for (int64_t v = 0; v < kBlock; v += 4) vst1q_s32(last + v, row.maximum);
    std::memcpy(last, score + j, rest * sizeof(int32_t));
    step(last, row, last_high, last_low, sum);
    std::memcpy(high + j, last_high, rest);
    std::memcpy(low + j, last_low, rest);
    surplus = static_cast<int32_t>(kBlock - (n - j)) * fixed::exp2_neg(0, args.exponential);
  }
  return static_cast<int32_t>(vaddvq_u32(sum)) - surplus;
}

}  // namespace

void softmax_neon(const SoftmaxArgs& args, Range rows) {
  const neon::Exp2Neg exp2_neg(args.exponential);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int32_t* score = args.score + i * args.score_stride;
    const Row row{vdupq_n_s32(row_maximum(score, args.n)),
                  vdupq_n_u32(softmax_limit(args.multiplier)), vdupq_n_u32(args.multiplier),
                  exp2_neg};
    args.sum[i] = write_planes(args, i, row);
  }
}

}  // namespace pyqrt
