#include <array>

#include "fixed/fixed_avx512.h"
#include "ops/attention/attention_tiles.h"

namespace pyqrt {
namespace {

// A read-write register operand: with the intrinsic, GCC copies accumulators between registers
// and reaches half the speed.
inline void dot_product(__m512i& sum, __m512i u8, __m512i s8) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u8), "v"(s8));
}
inline __m512i broadcast_group(const void* from) {
  int32_t group;
  std::memcpy(&group, from, sizeof group);
  return _mm512_set1_epi32(group);
}
inline __mmask16 mask_of(int64_t count) {
  return count >= kBlock ? static_cast<__mmask16>(0xffff)
                         : static_cast<__mmask16>((1u << count) - 1);
}

// Keys are the unsigned operand, as key + 128: that adds 128 * sum(query) to every score of a
// row, which the row's maximum takes away again.
struct Vnni {
  using Query = int8_t;
  using Key = uint8_t;   // [ceil(n/16)][ceil(d/4)][16][4]
  using Value = int8_t;  // [ceil(n/4)][ceil(d/16)][16][4]
  static constexpr int64_t kGroup = 4;
  static constexpr int32_t kKeyOffset = 128;

  static void softmax(const SoftmaxArgs& args, Range rows) { softmax_avx512vnni(args, rows); }

  static void pack_queries(const int8_t* from, int64_t stride, int64_t rows, int64_t d,
                           int8_t* to) {
    const int64_t padded = round_up(d, kGroup);
    for (int64_t i = 0; i < rows; ++i) {
      // Whole vectors: the next row, or the slack after the last one, takes the surplus.
      for (int64_t c = 0; c < d; c += kBlock) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + c),
                         _mm_maskz_loadu_epi8(mask_of(d - c), from + c));
      }
      from += stride;
      to += padded;
    }
  }

  // 16 keys x 16 columns at a time: four 4 x 4 transpositions of groups side by side.
  static void pack_keys(const int8_t* from, int64_t stride, int64_t n, int64_t d, uint8_t* to) {
    const __m512i offset = _mm512_set1_epi8(-128);
    for (int64_t key = 0; key < n; key += kBlock) {
      // Rows beyond the last repeat it: their scores are never read.
      const auto row = [&](int64_t i) { return from + std::min(key + i, n - 1) * stride; };
      for (int64_t column = 0; column < d; column += 16) {
        const __mmask16 keep = mask_of(d - column);
        __m512i x[4];
        for (int64_t i = 0; i < 4; ++i) {
          const auto part = [&](int64_t lane) {
            return _mm_maskz_loadu_epi8(keep, row(4 * lane + i) + column);
          };
          x[i] = _mm512_castsi128_si512(part(0));
          x[i] = _mm512_inserti32x4(x[i], part(1), 1);
          x[i] = _mm512_inserti32x4(x[i], part(2), 2);
          x[i] = _mm512_inserti32x4(x[i], part(3), 3);
        }
        const __m512i low01 = _mm512_unpacklo_epi32(x[0], x[1]);
        const __m512i low23 = _mm512_unpacklo_epi32(x[2], x[3]);
        const __m512i high01 = _mm512_unpackhi_epi32(x[0], x[1]);
        const __m512i high23 = _mm512_unpackhi_epi32(x[2], x[3]);
        const __m512i group[4] = {
            _mm512_unpacklo_epi64(low01, low23), _mm512_unpackhi_epi64(low01, low23),
            _mm512_unpacklo_epi64(high01, high23), _mm512_unpackhi_epi64(high01, high23)};
        const int64_t groups = std::min<int64_t>(4, ceil_div(d - column, kGroup));
        for (int64_t g = 0; g < groups; ++g) {
          _mm512_storeu_si512(to, _mm512_xor_si512(group[g], offset));
          to += 64;
        }
      }
    }
  }

  // 4 keys x 16 columns at a time. Keys beyond the last weigh nothing: their values are zero.
  static void pack_values(const int8_t* from, int64_t stride, int64_t n, int64_t d, int8_t* to) {
    for (int64_t key = 0; key < n; key += kGroup) {
      for (int64_t column = 0; column < d; column += kBlock) {
        const __mmask16 keep = mask_of(d - column);
        const auto part = [&](int64_t i) {
          return key + i < n ? _mm_maskz_loadu_epi8(keep, from + (key + i) * stride + column)
                             : _mm_setzero_si128();
        };
        const __m128i x[4] = {part(0), part(1), part(2), part(3)};
        const __m128i low01 = _mm_unpacklo_epi8(x[0], x[1]);
        const __m128i low23 = _mm_unpacklo_epi8(x[2], x[3]);
        const __m128i high01 = _mm_unpackhi_epi8(x[0], x[1]);
        const __m128i high23 = _mm_unpackhi_epi8(x[2], x[3]);
        __m128i* out = reinterpret_cast<__m128i*>(to);
        _mm_storeu_si128(out, _mm_unpacklo_epi16(low01, low23));
        _mm_storeu_si128(out + 1, _mm_unpackhi_epi16(low01, low23));
        _mm_storeu_si128(out + 2, _mm_unpacklo_epi16(high01, high23));
        _mm_storeu_si128(out + 3, _mm_unpackhi_epi16(high01, high23));
        to += 64;
      }
    }
  }

  // 4 queries x kBlocks blocks of 16 keys. In both products the unrolling comes before GCC decides
  // what lives in registers; without it the sums do not.
  template <int kBlocks>
  static void score_tile(const int8_t* queries, const uint8_t* keys, int64_t groups, int32_t* to,
                         int64_t stride) {
    __m512i sum[4][kBlocks];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) sum[i][b] = _mm512_setzero_si512();
    }
    for (int64_t g = 0; g < groups; ++g) {
      __m512i key[kBlocks];
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) {
        key[b] = _mm512_loadu_si512(keys + (b * groups + g) * 64);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m512i query = broadcast_group(queries + (i * groups + g) * kGroup);
#pragma GCC unroll 4
        for (int b = 0; b < kBlocks; ++b) dot_product(sum[i][b], key[b], query);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) {
        _mm512_storeu_si512(to + i * stride + b * kBlock, sum[i][b]);
      }
    }
  }

  static void score(const int8_t* queries, const uint8_t* keys, int64_t rows, int64_t n, int64_t d,
                    int32_t* to, int64_t stride) {
    constexpr std::array kTiles{score_tile<1>, score_tile<2>, score_tile<3>, score_tile<4>};
    const int64_t groups = ceil_div(d, kGroup);
    const int64_t blocks = ceil_div(n, kBlock);
    for (int64_t block = 0; block < blocks; block += 4) {
      const auto tile = kTiles[static_cast<std::size_t>(std::min<int64_t>(4, blocks - block) - 1)];
      for (int64_t i = 0; i < rows; i += 4) {
        tile(queries + i * groups * kGroup, keys + block * groups * 64, groups,
             to + i * stride + block * kBlock, stride);
      }
    }
  }

  // kRows queries x kBlocks blocks of 16 columns, both planes.
  template <int kRows, int kBlocks>
  static void mix_tile(const TilePlanes& planes, const int8_t* values, int64_t groups,
                       int64_t value_stride, int32_t* to, int64_t stride) {
    const TilePlanes p = planes;
    __m512i high[kRows][kBlocks];
    __m512i low[kRows][kBlocks];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) high[i][b] = low[i][b] = _mm512_setzero_si512();
    }
    for (int64_t g = 0; g < groups; ++g) {
      __m512i value[kBlocks];
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) {
        value[b] = _mm512_loadu_si512(values + g * value_stride + b * 64);
      }
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
        const __m512i p_high = broadcast_group(p.high + i * p.stride + g * kGroup);
        const __m512i p_low = broadcast_group(p.low + i * p.stride + g * kGroup);
#pragma GCC unroll 4
        for (int b = 0; b < kBlocks; ++b) {
          dot_product(high[i][b], p_high, value[b]);
          dot_product(low[i][b], p_low, value[b]);
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) {
        _mm512_storeu_si512(to + i * stride + b * kBlock,
                            _mm512_add_epi32(_mm512_slli_epi32(high[i][b], 7), low[i][b]));
      }
    }
  }

  static void mix(const TilePlanes& planes, const int8_t* values, int64_t rows, Range chunk,
                  int64_t, int64_t d, int32_t* to) {
    struct Tile {
      void (*run)(const TilePlanes&, const int8_t*, int64_t, int64_t, int32_t*, int64_t);
      int64_t rows;
    };
    constexpr std::array kTiles{Tile{mix_tile<4, 1>, 4}, Tile{mix_tile<4, 2>, 4},
                                Tile{mix_tile<4, 3>, 4}, Tile{mix_tile<2, 4>, 2}};
    const int64_t blocks = ceil_div(d, kBlock);
    const int64_t groups = ceil_div(chunk.size(), kGroup);
    values += chunk.begin / kGroup * blocks * 64;
    for (int64_t block = 0; block < blocks; block += 4) {
      const Tile& tile = kTiles[static_cast<std::size_t>(std::min<int64_t>(4, blocks - block) - 1)];
      for (int64_t i = 0; i < rows; i += tile.rows) {
        const int64_t start = i * planes.stride + chunk.begin;
        tile.run({planes.high + start, planes.low + start, planes.stride}, values + block * 64,
                 groups, blocks * 64, to + (i * blocks + block) * kBlock, blocks * kBlock);
      }
    }
  }

  static void store(const int32_t* mixed, int64_t d, const RowScale& scale, int32_t zero_point,
                    int8_t* to) {
    const __m512i factor = _mm512_set1_epi64(scale.factor);
    const __m512i half = _mm512_set1_epi64(int64_t{1} << (scale.shift - 1));
    const __m128i shift = _mm_cvtsi32_si128(scale.shift);
    const __m512i zero = _mm512_set1_epi32(zero_point);
    const __m512i lowest = _mm512_set1_epi32(-fixed::kMaxS8);
    const auto scaled = [&](__m512i a) {
      return _mm512_sra_epi64(_mm512_add_epi64(_mm512_mul_epi32(a, factor), half), shift);
    };
    for (int64_t c = 0; c < d; c += kBlock) {
      const __m512i a = _mm512_loadu_si512(mixed + c);
      const __m512i even = scaled(a);
      const __m512i odd = scaled(_mm512_srli_epi64(a, 32));
      const __m512i both = _mm512_mask_shuffle_epi32(even, 0xaaaa, odd, _MM_PERM_CCAA);
      const __m512i out = _mm512_max_epi32(_mm512_add_epi32(both, zero), lowest);
      _mm_mask_storeu_epi8(to + c, mask_of(d - c), _mm512_cvtsepi32_epi8(out));
    }
  }
};

}  // namespace

void attention_avx512vnni(const AttentionArgs& args, Range items, int64_t, void* scratch) {
  for (int64_t item = items.begin; item < items.end; ++item) attend<Vnni>(args, item, scratch);
}

}  // namespace pyqrt
