#include "bench/peak_neon.h"

namespace pyqrt {

uint32_t multiply_accumulate_neondot(int64_t steps) {
  int8x16_t a = vdupq_n_s8(3);
  const int8x16_t b = vdupq_n_s8(5);
  return accumulate_neon<16>(steps, [&](int32x4_t& sum) {
    asm volatile("" : "+w"(a));
    sum = vdotq_s32(sum, a, b);
  });
}

uint32_t read_neondot(const uint8_t* data, int64_t bytes) {
  return read_vectors(data, bytes);
}

}  // namespace pyqrt
