#include <immintrin.h>

#include "bench/peak.h"

namespace pyqrt {
namespace {

constexpr int kSums = 16;
constexpr int64_t kMacsPerInstruction = 64;

uint32_t checksum(__m512i value) {
  alignas(64) uint32_t lane[16];
  _mm512_store_si512(lane, value);
  uint32_t total = 0;
  for (uint32_t part : lane) total += part;
  return total;
}

}  // namespace

// Assembly, as in the kernels: with the intrinsic, GCC copies the sums between registers.
uint32_t multiply_accumulate_avx512vnni(int64_t steps) {
  const __m512i a = _mm512_set1_epi8(3);
  const __m512i b = _mm512_set1_epi8(5);
  __m512i sum[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) sum[i] = _mm512_setzero_si512();
  const int64_t rounds = steps * (kPeakStepMacs / (kSums * kMacsPerInstruction));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i)
      asm volatile("vpdpbusd %2, %1, %0" : "+v"(sum[i]) : "v"(a), "v"(b));
  }
  __m512i total = sum[0];
#pragma GCC unroll 16
  for (int i = 1; i < kSums; ++i) total = _mm512_add_epi32(total, sum[i]);
  return checksum(total);
}

uint32_t read_avx512vnni(const uint8_t* data, int64_t bytes) {
  constexpr int kLoads = kReadStep / sizeof(__m512i);
  __m512i sum[kLoads];
#pragma GCC unroll 4
  for (int i = 0; i < kLoads; ++i) sum[i] = _mm512_setzero_si512();
  for (const uint8_t* p = data; p < data + bytes; p += kReadStep) {
#pragma GCC unroll 4
    for (int i = 0; i < kLoads; ++i) {
      sum[i] = _mm512_xor_si512(sum[i], _mm512_loadu_si512(p + i * sizeof(__m512i)));
    }
  }
  __m512i total = sum[0];
#pragma GCC unroll 4
  for (int i = 1; i < kLoads; ++i) total = _mm512_xor_si512(total, sum[i]);
  return checksum(total);
}

}  // namespace pyqrt
