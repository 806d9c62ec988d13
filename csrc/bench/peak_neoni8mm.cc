#include "bench/peak_neon.h"

namespace pyqrt {

uint32_t multiply_accumulate_neoni8mm(int64_t steps) {
  int8x16_t a = vdupq_n_s8(3);
  const int8x16_t b = vdupq_n_s8(5);
  return accumulate_neon<32>(steps, [&](int32x4_t& sum) {
    asm volatile("" : "+w"(a));
    sum = vmmlaq_s32(sum, a, b);
  });
}

uint32_t read_neoni8mm(const uint8_t* data, int64_t bytes) {
  return read_vectors(data, bytes);
}

}  // namespace pyqrt
