// layernorm, AVX-512 VNNI: 32 columns of up to 4 rows at a time, tails masked.
//
// All products are vpdpwssd on int16 pairs whose upper half is zero on one side: one exact
// 16 x 16 bit product per 32-bit lane, added to what stands there. `low` and `high` are columns 0
// to 3 and 4 to 7 of every eight, the order in which unpacking splits int16 and saturating packs
// join them again.
#include "fixed/fixed_avx512.h"
#include "ops/layernorm/layernorm_row.h"

namespace pyqrt {
namespace {

struct Halves {
  __m512i low, high;
};

// The columns of one step: all 32, or those of the tail.
struct AllColumns {
  static __m512i load(const int16_t* source) { return _mm512_loadu_si512(source); }
  static __m512i load(const int32_t* source, int half) {
    return _mm512_loadu_si512(source + 16 * half);
  }
  static void store(int16_t* target, __m512i v) { _mm512_storeu_si512(target, v); }
  static void store(int8_t* target, __m256i v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target), v);
  }
};
struct SomeColumns {
  __mmask32 mask;
  explicit SomeColumns(int64_t count) : mask((uint32_t{1} << count) - 1) {}  // count < 32
  __m512i load(const int16_t* source) const { return _mm512_maskz_loadu_epi16(mask, source); }
  __m512i load(const int32_t* source, int half) const {
    return _mm512_maskz_loadu_epi32(static_cast<__mmask16>(mask >> (16 * half)),
                                    source + 16 * half);
  }
  void store(int16_t* target, __m512i v) const { _mm512_mask_storeu_epi16(target, mask, v); }
  void store(int8_t* target, __m256i v) const { _mm256_mask_storeu_epi8(target, mask, v); }
};

// Adds sixteen uint32 to eight int64.
__m512i add_u32(__m512i total, __m512i v) {
  const __m512i even = _mm512_maskz_mov_epi32(0x5555, v);
  return _mm512_add_epi64(total, _mm512_add_epi64(even, _mm512_srli_epi64(v, 32)));
}

LayerNormRow statistics(const LayerNormArgs& args, int64_t index) {
  if (!args.normalize) return kLayerNormIdentity;
  const int16_t* input = args.input + index * args.input_stride;
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i sum = _mm512_setzero_si512();
  __m512i squares = _mm512_setzero_si512();
  int64_t j = 0;
  for (; j + 64 <= args.n; j += 64) {
    const __m512i a = AllColumns::load(input + j);
    const __m512i b = AllColumns::load(input + j + 32);
    sum = _mm512_add_epi32(sum, _mm512_dpwssd_epi32(_mm512_madd_epi16(a, ones), b, ones));
    // 4 * 32767^2 < 2^32: exact as unsigned.
    squares = add_u32(squares, _mm512_dpwssd_epi32(_mm512_madd_epi16(a, a), b, b));
  }
  for (; j < args.n; j += 32) {
    const __m512i a =
        j + 32 <= args.n ? AllColumns::load(input + j) : SomeColumns(args.n - j).load(input + j);
    sum = _mm512_dpwssd_epi32(sum, a, ones);
    squares = add_u32(squares, _mm512_madd_epi16(a, a));
  }
  return layernorm_row(args, _mm512_reduce_add_epi32(sum), _mm512_reduce_add_epi64(squares));
}

// int16 in the low half of every lane, zeros in the high half.
Halves unpack(__m512i v) {
  const __m512i zero = _mm512_setzero_si512();
  return {_mm512_unpacklo_epi16(v, zero), _mm512_unpackhi_epi16(v, zero)};
}

Halves normalize(__m512i input, const LayerNormVectorRow& row) {
  const __m512i inverse = _mm512_set1_epi32(row.row.inverse);
  const __m512i offset = _mm512_set1_epi32(row.offset);
  const __m128i shift = _mm_cvtsi32_si128(row.row.shift);
  const auto half = [&](__m512i q) {
    return avx512::sat16(_mm512_sra_epi32(_mm512_dpwssd_epi32(offset, q, inverse), shift));
  };
  const Halves q = unpack(input);
  return {half(q.low), half(q.high)};
}

// The gains of one output for one step, and its biases with the rounding constant in them.
struct Affine {
  Halves gain, bias;
  __m128i shift;

  Affine() = default;

  template <class Columns, class Element>
  Affine(const Columns& columns, const LayerNormOutput<Element>& output, int64_t j)
      : gain(unpack(columns.load(output.gain + j))), shift(_mm_cvtsi32_si128(output.shift)) {
    const __m512i half = _mm512_set1_epi32(int32_t{1} << (output.shift - 1));
    const __m512i first = _mm512_add_epi32(columns.load(output.bias + j, 0), half);
    const __m512i second = _mm512_add_epi32(columns.load(output.bias + j, 1), half);
    bias = {_mm512_shuffle_i64x2(first, second, 0x88), _mm512_shuffle_i64x2(first, second, 0xDD)};
  }

  Halves operator()(const Halves& y) const {
    const auto half = [&](__m512i v, __m512i g, __m512i b) {
      return _mm512_sra_epi32(_mm512_dpwssd_epi32(b, v, g), shift);
    };
    return {half(y.low, gain.low, bias.low), half(y.high, gain.high, bias.high)};
  }
};

// Both halves in order, saturated.
__m256i pack8(const Halves& v) {
  const __m512i words = _mm512_packs_epi32(v.low, v.high);
  return _mm512_cvtsepi16_epi8(_mm512_max_epi16(words, _mm512_set1_epi16(-fixed::kMaxS8)));
}
__m512i pack16(const Halves& v) {
  const __m512i words = _mm512_packs_epi32(v.low, v.high);
  return _mm512_max_epi16(words, _mm512_set1_epi16(-fixed::kMaxS16));
}

template <bool kOutput8, bool kOutput16, class Columns>
void step(const Columns& columns, const LayerNormArgs& args, const LayerNormVectorRow* rows,
          int count, int64_t j) {
  Affine affine8, affine16;
  if constexpr (kOutput8) affine8 = Affine(columns, args.output8, j);
  if constexpr (kOutput16) affine16 = Affine(columns, args.output16, j);
  for (int i = 0; i < count; ++i) {
    const Halves y = normalize(columns.load(rows[i].input + j), rows[i]);
    if constexpr (kOutput8) columns.store(rows[i].output8 + j, pack8(affine8(y)));
    if constexpr (kOutput16) columns.store(rows[i].output16 + j, pack16(affine16(y)));
  }
}

template <bool kOutput8, bool kOutput16>
void run(const LayerNormArgs& args, Range range) {
  for (int64_t begin = range.begin; begin < range.end; begin += kLayerNormRowBlock) {
    LayerNormVectorRow rows[kLayerNormRowBlock];
    const int count = layernorm_vector_rows(
        args, {begin, range.end}, [&](int64_t index) { return statistics(args, index); }, rows);
    int64_t j = 0;
    for (; j + 32 <= args.n; j += 32) {
      step<kOutput8, kOutput16>(AllColumns{}, args, rows, count, j);
    }
    if (j < args.n) {
      step<kOutput8, kOutput16>(SomeColumns(args.n - j), args, rows, count, j);
    }
  }
}

}  // namespace

void layernorm_avx512vnni(const LayerNormArgs& args, Range rows) {
  if (args.output8.data && args.output16.data) return run<true, true>(args, rows);
  if (args.output8.data) return run<true, false>(args, rows);
  if (args.output16.data) return run<false, true>(args, rows);
}

}  // namespace pyqrt
