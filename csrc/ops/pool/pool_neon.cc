// pool, NEON: sums of 32 columns in registers, then one multiplication for each mean.
#include <arm_neon.h>

#include "ops/pool/pool_mean.h"

namespace pyqrt {
namespace {

constexpr int kVectors = 8;
constexpr int64_t kColumns = 4 * kVectors;

void mean(const PoolArgs& args, int64_t sequence) {
  const int64_t tokens = args.offsets[sequence + 1] - args.offsets[sequence];
  const int16_t* input = args.input + args.offsets[sequence] * args.input_stride;
  int16_t* output = args.output + sequence * args.output_stride;
  const RoundedMean rounded_mean(tokens);
  int64_t c = 0;
  for (; c + kColumns <= args.width; c += kColumns) {
    int32x4_t sum[kVectors];
    for (int32x4_t& v : sum) v = vdupq_n_s32(static_cast<int32_t>(rounded_mean.start()));
    for (int64_t i = 0; i < tokens; ++i) {
      const int16_t* row = input + i * args.input_stride + c;
      for (int v = 0; v < kVectors; v += 2) {
        const int16x8_t x = vld1q_s16(row + 4 * v);
        sum[v] = vaddw_s16(sum[v], vget_low_s16(x));
        sum[v + 1] = vaddw_high_s16(sum[v + 1], x);
      }
    }
    uint32_t lanes[kColumns];
    for (int v = 0; v < kVectors; ++v) vst1q_u32(lanes + 4 * v, vreinterpretq_u32_s32(sum[v]));
    for (int64_t j = 0; j < kColumns; ++j) output[c + j] = rounded_mean(lanes[j]);
  }
  for (; c < args.width; ++c) {
    uint32_t sum = rounded_mean.start();
    for (int64_t i = 0; i < tokens; ++i) {
      sum += static_cast<uint32_t>(input[i * args.input_stride + c]);
    }
    output[c] = rounded_mean(sum);
  }
}

}  // namespace

void pool_neon(const PoolArgs& args, Range sequences) {
  for (int64_t s = sequences.begin; s < sequences.end; ++s) {
    if (!pool_without_mean(args, s)) mean(args, s);
  }
}

}  // namespace pyqrt
