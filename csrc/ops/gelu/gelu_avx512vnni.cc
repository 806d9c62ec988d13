// gelu, AVX-512: 32 values at a time, the last ones under a mask.
#include "fixed/fixed_avx512.h"
#include "ops/gelu/gelu.h"

namespace pyqrt {

void gelu_avx512vnni(const GeluArgs& args, Range rows) {
  const avx512::Gelu gelu(args.polynomial);
  const avx512::Rounding rounding = avx512::make_rounding(args.shift);
  const __m256i lowest = _mm256_set1_epi8(-fixed::kMaxS8);
  const __m512i zero_point = _mm512_set1_epi16(static_cast<int16_t>(args.zero_point));
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* input = args.input + i * args.input_stride;
    int8_t* output = args.output + i * args.output_stride;
    for (int64_t j = 0; j < args.n; j += 32) {
      const __mmask32 valid = args.n - j < 32 ? (__mmask32{1} << (args.n - j)) - 1 : ~__mmask32{0};
      const __m512i z = _mm512_maskz_loadu_epi16(valid, input + j);
      const __m512i multiplier = _mm512_maskz_loadu_epi16(valid, args.multiplier + j);
      const __m512i scaled = avx512::mul_rshr(gelu(z), multiplier, rounding);
      const __m256i byte = _mm512_cvtsepi16_epi8(_mm512_adds_epi16(scaled, zero_point));
      _mm256_mask_storeu_epi8(output + j, valid, _mm256_max_epi8(byte, lowest));
    }
  }
}

}  // namespace pyqrt
