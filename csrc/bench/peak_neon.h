// What the NEON variants of the peak measurements share. Internal linkage: every instruction set
// has a copy of its own.
#pragma once

#include <arm_neon.h>

#include "bench/peak.h"

namespace pyqrt {
namespace {

constexpr int kSums = 16;

// add(sum[i]) for kSums independent sums, one after the other, until kPeakStepMacs * steps
// multiply-accumulates are done.
template <int64_t kMacsPerAdd, class Add>
uint32_t accumulate_neon(int64_t steps, Add add) {
  static_assert(kPeakStepMacs % (kSums * kMacsPerAdd) == 0);
  int32x4_t sum[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) sum[i] = vdupq_n_s32(0);
  const int64_t rounds = steps * (kPeakStepMacs / (kSums * kMacsPerAdd));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) add(sum[i]);
  }
  uint32_t total = 0;
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) total += vaddvq_u32(vreinterpretq_u32_s32(sum[i]));
  return total;
}

uint32_t read_vectors(const uint8_t* data, int64_t bytes) {
  constexpr int kLoads = kReadStep / sizeof(uint8x16_t);
  uint8x16_t sum[kLoads];
#pragma GCC unroll 16
  for (int i = 0; i < kLoads; ++i) sum[i] = vdupq_n_u8(0);
  for (const uint8_t* p = data; p < data + bytes; p += kReadStep) {
#pragma GCC unroll 16
    for (int i = 0; i < kLoads; ++i) sum[i] = veorq_u8(sum[i], vld1q_u8(p + 16 * i));
  }
  uint32_t total = 0;
#pragma GCC unroll 16
  for (int i = 0; i < kLoads; ++i) total += vaddlvq_u8(sum[i]);
  return total;
}

}  // namespace
}  // namespace pyqrt
