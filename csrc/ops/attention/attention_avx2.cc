#include "fixed/fixed_avx2.h"
#include "ops/attention/attention_tiles.h"

namespace pyqrt {
namespace {

inline __m256i load(const int16_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
inline void store_vector(void* to, __m256i value) {
  _mm256_storeu_si256(static_cast<__m256i*>(to), value);
}
// The first `count` of 16 bytes, zeros after them.
inline __m128i load_bytes(const void* from, int64_t count) {
  if (count >= 16) return _mm_loadu_si128(static_cast<const __m128i*>(from));
  uint8_t bytes[16] = {};
  std::memcpy(bytes, from, static_cast<std::size_t>(count));
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}
inline __m256i broadcast_pair(const int16_t* from) {
  int32_t pair;
  std::memcpy(&pair, from, sizeof pair);
  return _mm256_set1_epi32(pair);
}
// Two products of int16 pairs, added: exact for every operand that occurs here.
inline void dot_product(__m256i& sum, __m256i a, __m256i b) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

// Everything is widened to int16 once, when it is packed: pmaddwd then costs two instructions for
// 16 products, and it takes a whole 14-bit probability where bytes would need both planes.
struct Avx2 {
  using Query = int16_t;
  using Key = int16_t;    // [ceil(n/16)][ceil(d/2)][16][2]
  using Value = int16_t;  // [ceil(d/16)][ceil(n/2)][16][2]
  static constexpr int64_t kGroup = 2;
  static constexpr int32_t kKeyOffset = 0;
  static constexpr int64_t kRows = 4;                // queries of a register tile
  static constexpr int64_t kStep = kBlock * kGroup;  // elements of a block of one group

  static void softmax(const SoftmaxArgs& args, Range rows) { softmax_avx2(args, rows); }

  static void pack_queries(const int8_t* from, int64_t stride, int64_t rows, int64_t d,
                           int16_t* to) {
    const int64_t padded = round_up(d, kGroup);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t c = 0; c < d; ++c) to[c] = from[c];
      if (d < padded) to[d] = 0;
      from += stride;
      to += padded;
    }
  }

  // 4 keys x 16 columns at a time: two 4 x 4 transpositions of pairs side by side.
  static void pack_keys(const int8_t* from, int64_t stride, int64_t n, int64_t d, int16_t* to) {
    const int64_t groups = ceil_div(d, kGroup);
    for (int64_t key = 0; key < round_up(n, kBlock); key += 4) {
      int16_t* block = to + key / kBlock * groups * kStep + key % kBlock * kGroup;
      for (int64_t column = 0; column < d; column += 16) {
        __m256i x[4];
        for (int64_t i = 0; i < 4; ++i) {
          // Rows beyond the last repeat it: their scores are never read.
          const int8_t* row = from + std::min(key + i, n - 1) * stride;
          x[i] = _mm256_cvtepi8_epi16(load_bytes(row + column, d - column));
        }
        const __m256i low01 = _mm256_unpacklo_epi32(x[0], x[1]);
        const __m256i low23 = _mm256_unpacklo_epi32(x[2], x[3]);
        const __m256i high01 = _mm256_unpackhi_epi32(x[0], x[1]);
        const __m256i high23 = _mm256_unpackhi_epi32(x[2], x[3]);
        const __m256i group[4] = {
            _mm256_unpacklo_epi64(low01, low23), _mm256_unpackhi_epi64(low01, low23),
            _mm256_unpacklo_epi64(high01, high23), _mm256_unpackhi_epi64(high01, high23)};
        const int64_t first = column / kGroup;
        for (int64_t g = first; g < std::min(first + 8, groups); ++g) {
          const __m256i both = group[(g - first) % 4];
          const __m128i half =
              g - first < 4 ? _mm256_castsi256_si128(both) : _mm256_extracti128_si256(both, 1);
          _mm_storeu_si128(reinterpret_cast<__m128i*>(block + g * kStep), half);
        }
      }
    }
  }

  // 2 keys x 16 columns at a time. A key beyond the last weighs nothing: its values are zero.
  static void pack_values(const int8_t* from, int64_t stride, int64_t n, int64_t d, int16_t* to) {
    for (int64_t column = 0; column < d; column += kBlock) {
      for (int64_t key = 0; key < n; key += kGroup) {
        const int8_t* row = from + key * stride + column;
        const __m128i even = load_bytes(row, d - column);
        const __m128i odd =
            key + 1 < n ? load_bytes(row + stride, d - column) : _mm_setzero_si128();
        store_vector(to, _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(even, odd)));
        store_vector(to + 16, _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(even, odd)));
        to += kStep;
      }
    }
  }

  // The register tile of both products: 4 rows of pairs x 16 lanes.
  static void multiply(const int16_t* rows, int64_t row_stride, const int16_t* columns,
                       int64_t groups, int32_t* to, int64_t stride) {
    __m256i sum[kRows][2];
    for (auto& row : sum) row[0] = row[1] = _mm256_setzero_si256();
    for (int64_t g = 0; g < groups; ++g) {
      const __m256i left = load(columns + g * kStep);
      const __m256i right = load(columns + g * kStep + 16);
      for (int i = 0; i < kRows; ++i) {
        const __m256i pair = broadcast_pair(rows + i * row_stride + g * kGroup);
        dot_product(sum[i][0], pair, left);
        dot_product(sum[i][1], pair, right);
      }
    }
    for (int i = 0; i < kRows; ++i) {
      store_vector(to + i * stride, sum[i][0]);
      store_vector(to + i * stride + 8, sum[i][1]);
    }
  }

  static void score(const int16_t* queries, const int16_t* keys, int64_t rows, int64_t n, int64_t d,
                    int32_t* to, int64_t stride) {
    const int64_t groups = ceil_div(d, kGroup);
    for (int64_t key = 0; key < n; key += kBlock) {
      for (int64_t i = 0; i < rows; i += kRows) {
        multiply(queries + i * groups * kGroup, groups * kGroup,
                 keys + key / kBlock * groups * kStep, groups, to + i * stride + key, stride);
      }
    }
  }

  // count probabilities, up to whole vectors, put together from their planes.
  static void join(const uint8_t* high, const uint8_t* low, int64_t count, int16_t* to) {
    for (int64_t j = 0; j < count; j += 16) {
      const __m256i upper = _mm256_cvtepu8_epi16(load_bytes(high + j, 16));
      const __m256i lower = _mm256_cvtepu8_epi16(load_bytes(low + j, 16));
      store_vector(to + j, _mm256_or_si256(_mm256_slli_epi16(upper, 7), lower));
    }
  }

  static void mix(const TilePlanes& planes, const int16_t* values, int64_t rows, Range chunk,
                  int64_t n, int64_t d, int32_t* to) {
    alignas(32) int16_t probability[kRows][kKeyChunk];
    const int64_t columns = round_up(d, kBlock);
    const int64_t groups = ceil_div(chunk.size(), kGroup);
    for (int64_t i = 0; i < rows; i += kRows) {
      for (int64_t k = 0; k < kRows; ++k) {
        const int64_t start = (i + k) * planes.stride + chunk.begin;
        join(planes.high + start, planes.low + start, chunk.size(), probability[k]);
      }
      for (int64_t c = 0; c < columns; c += kBlock) {
        const int64_t first = c / kBlock * ceil_div(n, kGroup) + chunk.begin / kGroup;
        multiply(probability[0], kKeyChunk, values + first * kStep, groups, to + i * columns + c,
                 columns);
      }
    }
  }

  static void store(const int32_t* mixed, int64_t d, const RowScale& scale, int32_t zero_point,
                    int8_t* to) {
    const __m256i factor = _mm256_set1_epi64x(scale.factor);
    const __m128i shift = _mm_cvtsi32_si128(scale.shift);
    const __m256i zero = _mm256_set1_epi32(zero_point);
    // The 64-bit shift is logical: 2^63 is added before it and taken away after it.
    const uint64_t sign = uint64_t{1} << 63;
    const __m256i before =
        _mm256_set1_epi64x(static_cast<int64_t>(sign + (uint64_t{1} << (scale.shift - 1))));
    const __m256i after = _mm256_set1_epi64x(static_cast<int64_t>(sign >> scale.shift));
    const auto scaled = [&](__m256i a) {
      const __m256i biased = _mm256_add_epi64(_mm256_mul_epi32(a, factor), before);
      return _mm256_sub_epi64(_mm256_srl_epi64(biased, shift), after);
    };
    const auto eight = [&](const int32_t* from) {
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
      const __m256i even = scaled(a);
      const __m256i odd = scaled(_mm256_srli_epi64(a, 32));
      const __m256i both = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
      return avx2::sat8(_mm256_add_epi32(both, zero));
    };
    for (int64_t c = 0; c < d; c += kBlock) {
      const __m256i words = _mm256_permute4x64_epi64(
          _mm256_packs_epi32(eight(mixed + c), eight(mixed + c + 8)), _MM_SHUFFLE(3, 1, 2, 0));
      const __m128i bytes =
          _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
      if (d - c >= kBlock) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + c), bytes);
      } else {
        int8_t last[kBlock];
        _mm_storeu_si128(reinterpret_cast<__m128i*>(last), bytes);
        std::memcpy(to + c, last, static_cast<std::size_t>(d - c));
      }
    }
  }
};

}  // namespace

void attention_avx2(const AttentionArgs& args, Range items, int64_t, void* scratch) {
  for (int64_t item = items.begin; item < items.end; ++item) attend<Avx2>(args, item, scratch);
}

}  // namespace pyqrt
