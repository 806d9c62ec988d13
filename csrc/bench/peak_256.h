// What the 256-bit variants of the peak measurements share. Internal linkage: every instruction set
// has a copy of its own.
#pragma once

#include <immintrin.h>

#include "bench/peak.h"

namespace pyqrt {
namespace {

constexpr int kSums = 12;

uint32_t checksum(__m256i value) {
  alignas(32) uint32_t lane[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lane), value);
  uint32_t total = 0;
  for (const uint32_t part : lane) total += part;
  return total;
}

// add(sum[i]) for kSums independent sums, one after the other, until kPeakStepMacs * steps
// multiply-accumulates are done.
template <int64_t kMacsPerInstruction, class Add>
uint32_t accumulate_256(int64_t steps, Add add) {
  __m256i sum[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sum[i] = _mm256_setzero_si256();
  const int64_t rounds = steps * (kPeakStepMacs / (kSums * kMacsPerInstruction));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) add(sum[i]);
  }
  __m256i total = sum[0];
#pragma GCC unroll 12
  for (int i = 1; i < kSums; ++i) total = _mm256_add_epi32(total, sum[i]);
  return checksum(total);
}

uint32_t read_256(const uint8_t* data, int64_t bytes) {
  constexpr int kLoads = kReadStep / sizeof(__m256i);
  __m256i sum[kLoads];
#pragma GCC unroll 8
  for (int i = 0; i < kLoads; ++i) sum[i] = _mm256_setzero_si256();
  for (const uint8_t* p = data; p < data + bytes; p += kReadStep) {
#pragma GCC unroll 8
    for (int i = 0; i < kLoads; ++i) {
      const auto* address = reinterpret_cast<const __m256i*>(p) + i;
      sum[i] = _mm256_xor_si256(sum[i], _mm256_loadu_si256(address));
    }
  }
  __m256i total = sum[0];
#pragma GCC unroll 8
  for (int i = 1; i < kLoads; ++i) total = _mm256_xor_si256(total, sum[i]);
  return checksum(total);
}

}  // namespace
}  // namespace pyqrt
