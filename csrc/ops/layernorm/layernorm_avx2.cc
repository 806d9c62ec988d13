// layernorm, AVX2: 16 columns of up to 4 rows at a time, tails in scalar code.
//
// All products are pmaddwd on int16 pairs whose upper half is zero on one side: one exact
// 16 x 16 bit product per 32-bit lane. `low` and `high` are columns 0 to 3 and 4 to 7 of every
// eight, the order in which unpacking splits int16 and saturating packs join them again.
#include "fixed/fixed_avx2.h"
#include "ops/layernorm/layernorm_row.h"

namespace pyqrt {
namespace {

struct Halves {
  __m256i low, high;
};

__m256i load(const void* source) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(source));
}

// Adds eight uint32 to four int64.
__m256i add_u32(__m256i total, __m256i v) {
  const __m256i even = _mm256_blend_epi32(v, _mm256_setzero_si256(), 0xAA);
  return _mm256_add_epi64(total, _mm256_add_epi64(even, _mm256_srli_epi64(v, 32)));
}

LayerNormRow statistics(const LayerNormArgs& args, int64_t index) {
  if (!args.normalize) return kLayerNormIdentity;
  const int16_t* input = args.input + index * args.input_stride;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum = _mm256_setzero_si256();
  __m256i squares = _mm256_setzero_si256();
  int64_t j = 0;
  for (; j + 32 <= args.n; j += 32) {
    const __m256i a = load(input + j);
    const __m256i b = load(input + j + 16);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, ones));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(b, ones));
    // 4 * 32767^2 < 2^32: exact as unsigned.
    squares = add_u32(squares, _mm256_add_epi32(_mm256_madd_epi16(a, a), _mm256_madd_epi16(b, b)));
  }
  alignas(32) int32_t sum_lanes[8];
  alignas(32) int64_t square_lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(sum_lanes), sum);
  _mm256_store_si256(reinterpret_cast<__m256i*>(square_lanes), squares);
  int64_t total = 0;
  int64_t total_squares = 0;
  for (const int32_t lane : sum_lanes) total += lane;
  for (const int64_t lane : square_lanes) total_squares += lane;
  for (; j < args.n; ++j) {
    total += input[j];
    total_squares += int32_t{input[j]} * input[j];
  }
  return layernorm_row(args, total, total_squares);
}

// int16 in the low half of every lane, zeros in the high half.
Halves unpack(__m256i v) {
  const __m256i zero = _mm256_setzero_si256();
  return {_mm256_unpacklo_epi16(v, zero), _mm256_unpackhi_epi16(v, zero)};
}

Halves normalize(__m256i input, const LayerNormVectorRow& row) {
  const __m256i inverse = _mm256_set1_epi32(row.row.inverse);
  const __m256i offset = _mm256_set1_epi32(row.offset);
  const __m128i shift = _mm_cvtsi32_si128(row.row.shift);
  const auto half = [&](__m256i q) {
    const __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(q, inverse), offset);
    return avx2::sat16(_mm256_sra_epi32(sum, shift));
  };
  const Halves q = unpack(input);
  return {half(q.low), half(q.high)};
}

// The gains of one output for one step, and its biases with the rounding constant in them.
struct Affine {
  Halves gain, bias;
  __m128i shift;

  Affine() = default;

  template <class Element>
  Affine(const LayerNormOutput<Element>& output, int64_t j)
      : gain(unpack(load(output.gain + j))), shift(_mm_cvtsi32_si128(output.shift)) {
    const __m256i half = _mm256_set1_epi32(int32_t{1} << (output.shift - 1));
    const __m256i first = _mm256_add_epi32(load(output.bias + j), half);
    const __m256i second = _mm256_add_epi32(load(output.bias + j + 8), half);
    bias = {_mm256_permute2x128_si256(first, second, 0x20),
            _mm256_permute2x128_si256(first, second, 0x31)};
  }

  Halves operator()(const Halves& y) const {
    const auto half = [&](__m256i v, __m256i g, __m256i b) {
      return _mm256_sra_epi32(_mm256_add_epi32(_mm256_madd_epi16(v, g), b), shift);
    };
    return {half(y.low, gain.low, bias.low), half(y.high, gain.high, bias.high)};
  }
};

// Both halves in order, saturated.
__m128i pack8(const Halves& v) {
  const __m256i words = _mm256_packs_epi32(v.low, v.high);
  const __m256i clipped = _mm256_max_epi16(words, _mm256_set1_epi16(-fixed::kMaxS8));
  return _mm_packs_epi16(_mm256_castsi256_si128(clipped), _mm256_extracti128_si256(clipped, 1));
}
__m256i pack16(const Halves& v) {
  const __m256i words = _mm256_packs_epi32(v.low, v.high);
  return _mm256_max_epi16(words, _mm256_set1_epi16(-fixed::kMaxS16));
}

template <bool kOutput8, bool kOutput16>
void step(const LayerNormArgs& args, const LayerNormVectorRow* rows, int count, int64_t j) {
  Affine affine8, affine16;
  if constexpr (kOutput8) affine8 = Affine(args.output8, j);
  if constexpr (kOutput16) affine16 = Affine(args.output16, j);
  for (int i = 0; i < count; ++i) {
    const Halves y = normalize(load(rows[i].input + j), rows[i]);
    if constexpr (kOutput8) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(rows[i].output8 + j), pack8(affine8(y)));
    }
    if constexpr (kOutput16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(rows[i].output16 + j), pack16(affine16(y)));
    }
  }
}

template <bool kOutput8, bool kOutput16>
void run(const LayerNormArgs& args, Range range) {
  for (int64_t begin = range.begin; begin < range.end; begin += kLayerNormRowBlock) {
    LayerNormVectorRow rows[kLayerNormRowBlock];
    const int count = layernorm_vector_rows(
        args, {begin, range.end}, [&](int64_t index) { return statistics(args, index); }, rows);
    int64_t j = 0;
    for (; j + 16 <= args.n; j += 16) step<kOutput8, kOutput16>(args, rows, count, j);
    if (j < args.n) {
      for (int i = 0; i < count; ++i) {
        layernorm_columns(args, rows[i].index, rows[i].row, j, args.n);
      }
    }
  }
}

}  // namespace

void layernorm_avx2(const LayerNormArgs& args, Range rows) {
  if (args.output8.data && args.output16.data) return run<true, true>(args, rows);
  if (args.output8.data) return run<true, false>(args, rows);
  if (args.output16.data) return run<false, true>(args, rows);
}

}  // namespace pyqrt
