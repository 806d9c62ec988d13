// multiply, AVX2: 16 columns at a time.
#include "fixed/fixed_avx2.h"
#include "ops/multiply/multiply_rows.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 16;

__m256i load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

// Of 16 columns, in the order in which their products are unpacked: within 128 bits, which packing
// undoes.
struct Columns {
  avx2::Scale low;   // columns 0 to 3 and 8 to 11
  avx2::Scale high;  // columns 4 to 7 and 12 to 15
};
Columns make_columns(const int32_t* multiplier, const int32_t* shift) {
  const __m256i m[2] = {load(multiplier), load(multiplier + 8)};
  const __m256i s[2] = {load(shift), load(shift + 8)};
  return {avx2::make_scale(_mm256_permute2x128_si256(m[0], m[1], 0x20),
                           _mm256_permute2x128_si256(s[0], s[1], 0x20)),
          avx2::make_scale(_mm256_permute2x128_si256(m[0], m[1], 0x31),
                           _mm256_permute2x128_si256(s[0], s[1], 0x31))};
}

// a, b, output: 16 elements.
template <class Output>
void step(const Columns& columns, const int16_t* a, const int16_t* b, __m256i zero_point,
          Output* output) {
  const __m256i x = load(a);
  const __m256i y = load(b);
  const __m256i low = _mm256_mullo_epi16(x, y);
  const __m256i high = _mm256_mulhi_epi16(x, y);
  const __m256i r =
      _mm256_packs_epi32(avx2::requantize(_mm256_unpacklo_epi16(low, high), columns.low),
                         avx2::requantize(_mm256_unpackhi_epi16(low, high), columns.high));
  if constexpr (sizeof(Output) == 1) {
    const __m256i sum = _mm256_adds_epi16(r, zero_point);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(output),
                     _mm_max_epi8(bytes, _mm_set1_epi8(-fixed::kMaxS8)));
  } else {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(output),
                        _mm256_max_epi16(r, _mm256_set1_epi16(-fixed::kMaxS16)));
  }
}

}  // namespace

void multiply_avx2(const MultiplyArgs& args, Range rows) {
  const __m256i zero_point = _mm256_set1_epi16(static_cast<int16_t>(args.zero_point));
  multiply_rows(args, rows, [&](const MultiplyArgs& all, Range few, auto* output) {
    multiply_columns<kLanes>(all, few, output, make_columns,
                             [&](const Columns& columns, const int16_t* a, const int16_t* b,
                                 auto* out) { step(columns, a, b, zero_point, out); });
  });
}

}  // namespace pyqrt
