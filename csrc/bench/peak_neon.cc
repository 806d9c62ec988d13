#include "bench/peak_neon.h"

namespace pyqrt {

// The empty assembly makes `a` new to the compiler each time: else one product would serve all
// sums.
uint32_t multiply_accumulate_neon(int64_t steps) {
  int8x8_t a = vdup_n_s8(3);
  const int8x8_t b = vdup_n_s8(5);
  return accumulate_neon<16>(steps, [&](int32x4_t& sum) {
    asm volatile("" : "+w"(a));
    sum = vpadalq_s16(sum, vmlal_s8(vmull_s8(a, b), b, a));
  });
}

uint32_t read_neon(const uint8_t* data, int64_t bytes) {
  return read_vectors(data, bytes);
}

}  // namespace pyqrt
