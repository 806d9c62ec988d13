#include "bench/peak_256.h"

namespace pyqrt {

// The empty assembly makes `a` new to the compiler each time: else one product would serve all
// sums. The addition is assembly as in the kernels: GCC would copy the sums between registers.
uint32_t multiply_accumulate_avx2(int64_t steps) {
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5);
  const __m256i ones = _mm256_set1_epi16(1);
  return accumulate_256<64>(steps, [&](__m256i& sum) {
    asm volatile("" : "+x"(a));
    const __m256i first = _mm256_maddubs_epi16(a, b);
    asm volatile("" : "+x"(a));
    const __m256i four = _mm256_add_epi16(first, _mm256_maddubs_epi16(a, b));
    asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(_mm256_madd_epi16(four, ones)));
  });
}

uint32_t read_avx2(const uint8_t* data, int64_t bytes) {
  return read_256(data, bytes);
}

}  // namespace pyqrt
