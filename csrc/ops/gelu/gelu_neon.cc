// gelu, NEON: 16 values at a time; the last ones pass through a local buffer.
#include <cstring>

#include "fixed/fixed_neon.h"
#include "ops/gelu/gelu.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 16;

void step(const GeluArgs& args, const neon::Gelu& gelu, const int16_t* input,
          const int16_t* multiplier, int8_t* output) {
  const int16x8_t zero_point = vdupq_n_s16(static_cast<int16_t>(args.zero_point));
  const auto eight = [&](int64_t at) {
    const int16x8_t g = gelu(vld1q_s16(input + at));
    return vqaddq_s16(neon::mul_rshr(g, vld1q_s16(multiplier + at), args.shift), zero_point);
  };
  vst1q_s8(output, neon::pack_sat8(eight(0), eight(8)));
}

}  // namespace

void gelu_neon(const GeluArgs& args, Range rows) {
  const neon::Gelu gelu(args.polynomial);
  const int64_t whole = args.n / kLanes * kLanes;
  const std::size_t rest = static_cast<std::size_t>(args.n - whole);
  int16_t last_multiplier[kLanes] = {};
  if (rest != 0) std::memcpy(last_multiplier, args.multiplier + whole, rest * sizeof(int16_t));
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* input = args.input + i * args.input_stride;
    int8_t* output = args.output + i * args.output_stride;
    for (int64_t j = 0; j < whole; j += kLanes) {
      step(args, gelu, input + j, args.multiplier + j, output + j);
    }
    if (rest == 0) continue;
    int16_t last_input[kLanes] = {};
    int8_t last_output[kLanes];
    std::memcpy(last_input, input + whole, rest * sizeof(int16_t));
    step(args, gelu, last_input, last_multiplier, last_output);
    std::memcpy(output + whole, last_output, rest);
  }
}

}  // namespace pyqrt
