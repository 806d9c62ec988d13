// rotary, AVX2: 16 pairs at a time, one pmaddwd for each of their ends.
#include "fixed/fixed_avx2.h"
#include "ops/rotary/rotary_rows.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 16;

__m256i load(const int16_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

void store(int8_t* to, __m128i bytes) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}

// Eight int16 of `left` and eight of `right` in each half -> int8, left's 16 and then right's.
__m256i pack_sat8(__m256i left, __m256i right) {
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi16(left, right), 0xD8);
  return _mm256_max_epi8(packed, _mm256_set1_epi8(-fixed::kMaxS8));
}

// The turn of 16 pairs: what pmaddwd multiplies them by. Unpacking is done within 128 bits, and
// undone by packing.
struct Turn {
  __m256i first_low, first_high;    // cosine, -sine
  __m256i second_low, second_high;  // sine, cosine
};
Turn make_turn(__m256i cosine, __m256i sine) {
  const __m256i minus = _mm256_sub_epi16(_mm256_setzero_si256(), sine);
  return {_mm256_unpacklo_epi16(cosine, minus), _mm256_unpackhi_epi16(cosine, minus),
          _mm256_unpacklo_epi16(sine, cosine), _mm256_unpackhi_epi16(sine, cosine)};
}

// -> int8, the first of each pair and then the second.
__m256i turned(const Turn& turn, __m256i first, __m256i second, int shift) {
  const __m256i low = _mm256_unpacklo_epi16(first, second);
  const __m256i high = _mm256_unpackhi_epi16(first, second);
  const auto sum = [&](__m256i by_low, __m256i by_high) {
    return _mm256_packs_epi32(avx2::rshr(_mm256_madd_epi16(low, by_low), shift),
                              avx2::rshr(_mm256_madd_epi16(high, by_high), shift));
  };
  return pack_sat8(sum(turn.first_low, turn.first_high), sum(turn.second_low, turn.second_high));
}

}  // namespace

void rotary_avx2(const RotaryArgs& args, Range rows) {
  const auto turn_tables = [](const int16_t* cosine, const int16_t* sine) {
    return make_turn(load(cosine), load(sine));
  };
  const auto turn_pairs = [&](const Turn& turn, const int16_t* first, const int16_t* second,
                              int8_t* output, int8_t* output_second) {
    const __m256i bytes = turned(turn, load(first), load(second), args.shift);
    store(output, _mm256_castsi256_si128(bytes));
    store(output_second, _mm256_extracti128_si256(bytes, 1));
  };
  // rshr(x 2^14, shift) = mulr(x, 2^(29 - shift))
  const __m256i scale = _mm256_set1_epi16(static_cast<int16_t>(1 << (29 - args.shift)));
  const auto narrow = [&](const int16_t* input, int8_t* output) {
    const __m256i value = avx2::mulr(load(input), scale);
    store(output, _mm256_castsi256_si128(pack_sat8(value, value)));
  };
  rotary_rows(
      args, rows, [&](int64_t i) { rotary_turn_row<kLanes>(args, i, turn_tables, turn_pairs); },
      [&](const int16_t* input, int8_t* output, int64_t columns) {
        rotary_narrow<kLanes>(input, output, columns, narrow);
      });
}

}  // namespace pyqrt
