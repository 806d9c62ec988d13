// embedding, AVX2: 16 columns at a time, the tail in scalar code.
#include "fixed/fixed_avx2.h"
#include "ops/embedding/embedding_rows.h"

namespace pyqrt {
namespace {

__m128i load(const int8_t* source) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(source));
}

void row(const EmbeddingArgs& args, int64_t i) {
  const EmbeddingRows rows = embedding_rows(args, i);
  int16_t* output = args.output + i * args.output_stride;
  const __m256i rounding = _mm256_set1_epi32(1 << (args.shift - 1));
  const __m128i shift = _mm_cvtsi32_si128(args.shift);
  int64_t c = 0;
  for (; c + 16 <= args.width; c += 16) {
    __m256i low = rounding;   // columns 0 to 7
    __m256i high = rounding;  // columns 8 to 15
    for (int p = 0; p < rows.pairs; ++p) {
      const __m128i a = load(rows.pair[p].row[0] + c);
      const __m128i b = load(rows.pair[p].row[1] + c);
      const __m256i multipliers = _mm256_set1_epi32(rows.pair[p].multipliers);
      low = _mm256_add_epi32(
          low, _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)), multipliers));
      high = _mm256_add_epi32(
          high, _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b)), multipliers));
    }
    const __m256i packed =
        _mm256_packs_epi32(_mm256_sra_epi32(low, shift), _mm256_sra_epi32(high, shift));
    const __m256i ordered = _mm256_permute4x64_epi64(packed, 0xD8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(output + c),
                        _mm256_max_epi16(ordered, _mm256_set1_epi16(-fixed::kMaxS16)));
  }
  for (; c < args.width; ++c) {
    int32_t sum = 0;
    for (int p = 0; p < rows.pairs; ++p) {
      const EmbeddingPair& pair = rows.pair[p];
      sum += pair.row[0][c] * static_cast<int16_t>(pair.multipliers);
      sum += pair.row[1][c] * (pair.multipliers >> 16);
    }
    output[c] = static_cast<int16_t>(fixed::sat16(fixed::rshr(sum, args.shift)));
  }
}

}  // namespace

void embedding_avx2(const EmbeddingArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) row(args, i);
}

}  // namespace pyqrt
