// multiply, AVX-512: 32 columns at a time, the last ones under a mask.
#include "fixed/fixed_avx512.h"
#include "ops/multiply/multiply_rows.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 32;

__m512i requantize(__m512i product, const avx512::Scale& scale) {
  return avx512::requantize_raised(_mm512_sllv_epi32(product, scale.left), scale);
}

// The arguments are a copy, which no store of an int8 could alter.
template <class Output>
void multiply(MultiplyArgs args, Range rows, Output* output) {
  const __m512i zero_point = _mm512_set1_epi16(static_cast<int16_t>(args.zero_point));
  for (int64_t c = 0; c < args.width; c += kLanes) {
    const __mmask32 keep =
        args.width - c < kLanes ? (__mmask32{1} << (args.width - c)) - 1 : ~__mmask32{0};
    const auto load = [&](const int32_t* from, int half) {
      return _mm512_maskz_loadu_epi32(static_cast<__mmask16>(keep >> (16 * half)),
                                      from + c + 16 * half);
    };
    const __m512i m[2] = {load(args.multiplier, 0), load(args.multiplier, 1)};
    const __m512i s[2] = {load(args.shift, 0), load(args.shift, 1)};
    // Unpacking and packing are both done within 128 bits and undo each other, so these are
    // columns 0 to 3, 8 to 11, 16 to 19, 24 to 27, and the others.
    const avx512::Scale low = avx512::make_scale(_mm512_shuffle_i32x4(m[0], m[1], 0x88),
                                                 _mm512_shuffle_i32x4(s[0], s[1], 0x88));
    const avx512::Scale high = avx512::make_scale(_mm512_shuffle_i32x4(m[0], m[1], 0xDD),
                                                  _mm512_shuffle_i32x4(s[0], s[1], 0xDD));
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      const __m512i a = _mm512_maskz_loadu_epi16(keep, args.a + i * args.a_stride + c);
      const __m512i b = _mm512_maskz_loadu_epi16(keep, args.b + i * args.b_stride + c);
      const __m512i product_low = _mm512_mullo_epi16(a, b);
      const __m512i product_high = _mm512_mulhi_epi16(a, b);
      const __m512i r =
          _mm512_packs_epi32(requantize(_mm512_unpacklo_epi16(product_low, product_high), low),
                             requantize(_mm512_unpackhi_epi16(product_low, product_high), high));
      Output* const out = output + i * args.output_stride + c;
      if constexpr (sizeof(Output) == 1) {
        const __m256i bytes = _mm512_cvtsepi16_epi8(_mm512_adds_epi16(r, zero_point));
        _mm256_mask_storeu_epi8(out, keep,
                                _mm256_max_epi8(bytes, _mm256_set1_epi8(-fixed::kMaxS8)));
      } else {
        _mm512_mask_storeu_epi16(out, keep,
                                 _mm512_max_epi16(r, _mm512_set1_epi16(-fixed::kMaxS16)));
      }
    }
  }
}

}  // namespace

void multiply_avx512vnni(const MultiplyArgs& args, Range rows) {
  multiply_rows(args, rows, [](const MultiplyArgs& all, Range few, auto* output) {
    multiply(all, few, output);
  });
}

}  // namespace pyqrt
