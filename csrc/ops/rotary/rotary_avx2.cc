// rotary, AVX2: 16 pairs at a time, one pmaddwd for each of their ends. Tables are loaded once for
// all heads of a row; what is left over of a head goes through a buffer.
#include <cstring>

#include "fixed/fixed_avx2.h"
#include "ops/rotary/rotary.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 16;

__m256i load(const int16_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
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

// `pairs` pairs of every head of row i from column c on, at most 16.
void turn_columns(const RotaryArgs& args, int64_t i, int64_t c, int64_t pairs) {
  const int64_t half = args.rotated / 2;
  const int64_t entry = args.position[i] * half + c;
  const int16_t* input = args.input + i * args.input_stride + c;
  int8_t* output = args.output + i * args.output_stride + c;
  if (pairs == kLanes) {
    const Turn turn = make_turn(load(args.cosine + entry), load(args.sine + entry));
    for (int64_t head = 0; head < args.heads; ++head) {
      const __m256i bytes = turned(turn, load(input), load(input + half), args.shift);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(output), _mm256_castsi256_si128(bytes));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(output + half),
                       _mm256_extracti128_si256(bytes, 1));
      input += args.head_dim;
      output += args.head_dim;
    }
    return;
  }
  const auto count = static_cast<std::size_t>(pairs);
  int16_t cosine[kLanes] = {};
  int16_t sine[kLanes] = {};
  std::memcpy(cosine, args.cosine + entry, count * sizeof(int16_t));
  std::memcpy(sine, args.sine + entry, count * sizeof(int16_t));
  const Turn turn = make_turn(load(cosine), load(sine));
  int16_t first[kLanes] = {};
  int16_t second[kLanes] = {};
  int8_t bytes[2 * kLanes];
  for (int64_t head = 0; head < args.heads; ++head) {
    std::memcpy(first, input, count * sizeof(int16_t));
    std::memcpy(second, input + half, count * sizeof(int16_t));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes),
                        turned(turn, load(first), load(second), args.shift));
    std::memcpy(output, bytes, count);
    std::memcpy(output + half, bytes + kLanes, count);
    input += args.head_dim;
    output += args.head_dim;
  }
}

// The columns of a head that are not turned: rshr(x 2^14, shift) = mulr(x, 2^(29 - shift)).
void narrow(const int16_t* input, int8_t* output, int64_t columns, int shift) {
  const __m256i scale = _mm256_set1_epi16(static_cast<int16_t>(1 << (29 - shift)));
  const auto narrowed = [&](const int16_t* x) {
    const __m256i value = avx2::mulr(load(x), scale);
    return _mm256_castsi256_si128(pack_sat8(value, value));
  };
  int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(output + c), narrowed(input + c));
  }
  if (c < columns) {
    const auto rest = static_cast<std::size_t>(columns - c);
    int16_t last[kLanes] = {};
    int8_t bytes[kLanes];
    std::memcpy(last, input + c, rest * sizeof(int16_t));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), narrowed(last));
    std::memcpy(output + c, bytes, rest);
  }
}

}  // namespace

void rotary_avx2(const RotaryArgs& args, Range rows) {
  const int64_t half = args.rotated / 2;
  const int64_t rest = args.head_dim - args.rotated;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int64_t c = 0; c < half; c += kLanes) {
      turn_columns(args, i, c, half - c < kLanes ? half - c : kLanes);
    }
    if (rest == 0) continue;
    for (int64_t head = 0; head < args.heads; ++head) {
      const int64_t first = head * args.head_dim + args.rotated;
      narrow(args.input + i * args.input_stride + first,
             args.output + i * args.output_stride + first, rest, args.shift);
    }
  }
}

}  // namespace pyqrt
