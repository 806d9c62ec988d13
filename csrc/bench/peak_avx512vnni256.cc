#include "bench/peak_256.h"

namespace pyqrt {

// Assembly, as in the kernels: with the intrinsic, GCC copies the sums between registers.
uint32_t multiply_accumulate_avx512vnni256(int64_t steps) {
  const __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5);
  return accumulate_256<32>(steps, [&](__m256i& sum) {
    asm volatile("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  });
}

uint32_t read_avx512vnni256(const uint8_t* data, int64_t bytes) {
  return read_256(data, bytes);
}

}  // namespace pyqrt
