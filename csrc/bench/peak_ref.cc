#include <cstring>

#include "bench/peak.h"

namespace pyqrt {

// The empty assembly keeps an operand from the compiler: nothing is folded, hoisted out of the loop
// or made a vector.
uint32_t multiply_accumulate_reference(int64_t steps) {
  constexpr int kSums = 8;
  uint32_t sum[kSums] = {};
  uint32_t a = 3;
  uint32_t b = 5;
  asm volatile("" : "+r"(b));
  for (int64_t round = 0; round < steps * (kPeakStepMacs / kSums); ++round) {
#pragma GCC unroll 8
    for (int i = 0; i < kSums; ++i) {
      asm volatile("" : "+r"(a));
      sum[i] += a * b;
    }
  }
  uint32_t total = 0;
  for (const uint32_t part : sum) total += part;
  return total;
}

uint32_t read_reference(const uint8_t* data, int64_t bytes) {
  constexpr int kLoads = kReadStep / sizeof(uint64_t);
  uint64_t sum = 0;
  for (const uint8_t* p = data; p < data + bytes; p += kReadStep) {
    for (int i = 0; i < kLoads; ++i) {
      uint64_t word;
      std::memcpy(&word, p + i * sizeof word, sizeof word);
      sum += word;
    }
  }
  return static_cast<uint32_t>(sum + (sum >> 32));
}

}  // namespace pyqrt
