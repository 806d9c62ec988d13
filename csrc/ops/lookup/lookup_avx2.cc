// lookup, AVX2: one gather of 32 bits fetches both ends of an interval, one pmaddwd interpolates.
// 16 numbers at a time; those that are left over at the end of a row go through a buffer.
#include <cstring>

#include "fixed/fixed_avx2.h"
#include "ops/lookup/lookup.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 16;

// Eight u, zero-extended -> eight results.
__m256i interpolate(const int16_t* table, __m256i u) {
  const __m256i interval = _mm256_srli_epi32(u, 7);
  const __m256i ends =
      _mm256_i32gather_epi32(reinterpret_cast<const int*>(table), interval, sizeof(int16_t));
  // 128 - f in the low half and f in the high half.
  const __m256i f = _mm256_and_si256(u, _mm256_set1_epi32(127));
  const __m256i weights =
      _mm256_or_si256(_mm256_sub_epi32(_mm256_set1_epi32(128), f), _mm256_slli_epi32(f, 16));
  const __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(ends, weights), _mm256_set1_epi32(64));
  return _mm256_srai_epi32(sum, 7);
}

void step(const int16_t* table, const int16_t* input, int16_t* output) {
  const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(input));
  const __m256i u = _mm256_xor_si256(x, _mm256_set1_epi16(INT16_MIN));
  const __m256i zero = _mm256_setzero_si256();
  // Unpacking and packing are both done within 128 bits and undo each other.
  const __m256i low = interpolate(table, _mm256_unpacklo_epi16(u, zero));
  const __m256i high = interpolate(table, _mm256_unpackhi_epi16(u, zero));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(output), _mm256_packs_epi32(low, high));
}

}  // namespace

void lookup_avx2(const LookupArgs& args, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* input = args.input + i * args.input_stride;
    int16_t* output = args.output + i * args.output_stride;
    int64_t j = 0;
    for (; j + kLanes <= args.width; j += kLanes) step(args.table, input + j, output + j);
    if (j < args.width) {
      int16_t last[kLanes] = {};
      const std::size_t bytes = static_cast<std::size_t>(args.width - j) * sizeof(int16_t);
      std::memcpy(last, input + j, bytes);
      step(args.table, last, last);
      std::memcpy(output + j, last, bytes);
    }
  }
}

}  // namespace pyqrt
