// embedding, AVX-512 VNNI: 32 columns at a time, the tail masked.
#include "fixed/fixed_avx512.h"
#include "ops/embedding/embedding_rows.h"

namespace pyqrt {
namespace {

__m512i columns(const EmbeddingRows& rows, int64_t c, __mmask32 mask, __m512i rounding,
                __m128i shift) {
  __m512i low = rounding;   // columns 0 to 7 and 16 to 23
  __m512i high = rounding;  // columns 8 to 15 and 24 to 31
  for (int p = 0; p < rows.pairs; ++p) {
    const __m256i a = _mm256_maskz_loadu_epi8(mask, rows.pair[p].row[0] + c);
    const __m256i b = _mm256_maskz_loadu_epi8(mask, rows.pair[p].row[1] + c);
    const __m512i multipliers = _mm512_set1_epi32(rows.pair[p].multipliers);
    low = _mm512_dpwssd_epi32(low, _mm512_cvtepi8_epi16(_mm256_unpacklo_epi8(a, b)), multipliers);
    high = _mm512_dpwssd_epi32(high, _mm512_cvtepi8_epi16(_mm256_unpackhi_epi8(a, b)), multipliers);
  }
  const __m512i packed =
      _mm512_packs_epi32(_mm512_sra_epi32(low, shift), _mm512_sra_epi32(high, shift));
  return _mm512_max_epi16(_mm512_permutex_epi64(packed, 0xD8), _mm512_set1_epi16(-fixed::kMaxS16));
}

void row(const EmbeddingArgs& args, int64_t i) {
  const EmbeddingRows rows = embedding_rows(args, i);
  int16_t* output = args.output + i * args.output_stride;
  const __m512i rounding = _mm512_set1_epi32(1 << (args.shift - 1));
  const __m128i shift = _mm_cvtsi32_si128(args.shift);
  int64_t c = 0;
  for (; c + 32 <= args.width; c += 32) {
    _mm512_storeu_si512(output + c, columns(rows, c, ~__mmask32{0}, rounding, shift));
  }
  if (c < args.width) {
    const __mmask32 mask = (uint32_t{1} << (args.width - c)) - 1;
    _mm512_mask_storeu_epi16(output + c, mask, columns(rows, c, mask, rounding, shift));
  }
}

}  // namespace

void embedding_avx512vnni(const EmbeddingArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) row(args, i);
}

}  // namespace pyqrt
