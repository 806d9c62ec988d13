// gelu, AVX2: 16 values at a time; the last ones pass through a local buffer.
#include <cstring>

#include "fixed/fixed_avx2.h"
#include "ops/gelu/gelu.h"

namespace pyqrt {
namespace {

__m128i gelu16(const avx2::Gelu& gelu, __m256i z, __m256i multiplier, int shift,
               __m256i zero_point) {
  const __m256i scaled = avx2::mul_rshr(gelu(z), multiplier, shift);
  const __m256i sum = _mm256_adds_epi16(scaled, zero_point);
  const __m128i byte =
      _mm_packs_epi16(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  return _mm_max_epi8(byte, _mm_set1_epi8(-fixed::kMaxS8));
}

}  // namespace

void gelu_avx2(const GeluArgs& args, Range rows) {
  const avx2::Gelu gelu(args.polynomial);
  const __m256i zero_point = _mm256_set1_epi16(static_cast<int16_t>(args.zero_point));
  const auto load = [](const int16_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  };
  const int64_t whole = args.n / 16 * 16;
  const std::size_t rest = static_cast<std::size_t>(args.n - whole);
  int16_t last_multiplier[16] = {};
  if (rest != 0) std::memcpy(last_multiplier, args.multiplier + whole, rest * sizeof(int16_t));
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* input = args.input + i * args.input_stride;
    int8_t* output = args.output + i * args.output_stride;
    for (int64_t j = 0; j < whole; j += 16) {
      _mm_storeu_si128(
          reinterpret_cast<__m128i*>(output + j),
          gelu16(gelu, load(input + j), load(args.multiplier + j), args.shift, zero_point));
    }
    if (rest == 0) continue;
    int16_t last_input[16] = {};
    int8_t last_output[16];
    std::memcpy(last_input, input + whole, rest * sizeof(int16_t));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(last_output),
                     gelu16(gelu, load(last_input), load(last_multiplier), args.shift, zero_point));
    std::memcpy(output + whole, last_output, rest);
  }
}

}  // namespace pyqrt
