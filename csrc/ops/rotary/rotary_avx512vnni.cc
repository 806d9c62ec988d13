// rotary, AVX-512 VNNI: 32 pairs at a time, one vpdpwssd for each of their ends, which starts from
// the rounding constant. Tables are loaded once for all heads of a row; tails have a mask.
#include "fixed/fixed_avx512.h"
#include "ops/rotary/rotary_rows.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 32;

__mmask32 mask_of(int64_t columns) {
  return columns < kLanes ? (__mmask32{1} << columns) - 1 : ~__mmask32{0};
}

void store_sat8(int8_t* output, __mmask32 keep, __m512i value) {
  const __m256i bytes = _mm512_cvtsepi16_epi8(value);
  _mm256_mask_storeu_epi8(output, keep, _mm256_max_epi8(bytes, _mm256_set1_epi8(-fixed::kMaxS8)));
}

// The pairs of every head of row i from column c on, at most 32.
void turn_columns(const RotaryArgs& args, int64_t i, int64_t c) {
  const int64_t half = args.rotated / 2;
  const __mmask32 keep = mask_of(half - c);
  const int64_t entry = args.position[i] * half + c;
  const __m512i cosine = _mm512_maskz_loadu_epi16(keep, args.cosine + entry);
  const __m512i sine = _mm512_maskz_loadu_epi16(keep, args.sine + entry);
  const __m512i minus = _mm512_sub_epi16(_mm512_setzero_si512(), sine);
  // Unpacking and packing are both done within 128 bits and undo each other.
  const __m512i first_low = _mm512_unpacklo_epi16(cosine, minus);
  const __m512i first_high = _mm512_unpackhi_epi16(cosine, minus);
  const __m512i second_low = _mm512_unpacklo_epi16(sine, cosine);
  const __m512i second_high = _mm512_unpackhi_epi16(sine, cosine);
  const __m512i rounding = _mm512_set1_epi32(1 << (args.shift - 1));
  const __m128i shift = _mm_cvtsi32_si128(args.shift);
  const int16_t* input = args.input + i * args.input_stride + c;
  int8_t* output = args.output + i * args.output_stride + c;
  for (int64_t head = 0; head < args.heads; ++head) {
    const __m512i first = _mm512_maskz_loadu_epi16(keep, input);
    const __m512i second = _mm512_maskz_loadu_epi16(keep, input + half);
    const __m512i low = _mm512_unpacklo_epi16(first, second);
    const __m512i high = _mm512_unpackhi_epi16(first, second);
    const auto turned = [&](__m512i by_low, __m512i by_high) {
      return _mm512_packs_epi32(
          _mm512_sra_epi32(_mm512_dpwssd_epi32(rounding, low, by_low), shift),
          _mm512_sra_epi32(_mm512_dpwssd_epi32(rounding, high, by_high), shift));
    };
    store_sat8(output, keep, turned(first_low, first_high));
    store_sat8(output + half, keep, turned(second_low, second_high));
    input += args.head_dim;
    output += args.head_dim;
  }
}

// The columns of a head that are not turned: rshr(x 2^14, shift) = mulr(x, 2^(29 - shift)).
void narrow(const int16_t* input, int8_t* output, int64_t columns, int shift) {
  const __m512i scale = _mm512_set1_epi16(static_cast<int16_t>(1 << (29 - shift)));
  for (int64_t c = 0; c < columns; c += kLanes) {
    const __mmask32 keep = mask_of(columns - c);
    store_sat8(output + c, keep, avx512::mulr(_mm512_maskz_loadu_epi16(keep, input + c), scale));
  }
}

}  // namespace

void rotary_avx512vnni(const RotaryArgs& args, Range rows) {
  rotary_rows(
      args, rows,
      [&](int64_t i) {
        for (int64_t c = 0; c < args.rotated / 2; c += kLanes) turn_columns(args, i, c);
      },
      [&](const int16_t* input, int8_t* output, int64_t columns) {
        narrow(input, output, columns, args.shift);
      });
}

}  // namespace pyqrt
