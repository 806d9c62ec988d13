// linear, AVX2: int16 pair products (vpmaddwd). README.md explains the shape; every step is exact
// for every int8 and int16 value.
#include "ops/linear/linear_tiles256.h"

namespace pyqrt {
namespace {

__m256i pair_up(__m256i q) {
  const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
  return _mm256_shuffle_epi8(q, _mm256_broadcastsi128_si256(order));
}

void pack16(const int8_t* from, int16_t* plane, int16_t* /*none*/) {
  const __m128i q = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  store(plane, pair_up(_mm256_cvtepi8_epi16(q)));
}
void pack16(const int16_t* from, int16_t* high, int16_t* low) {
  const __m256i q = load(from);
  store(high, pair_up(_mm256_srai_epi16(q, 8)));
  store(low, pair_up(_mm256_and_si256(q, _mm256_set1_epi16(255))));
}

__m256i load_pair(const int16_t* from) {
  int32_t pair;
  std::memcpy(&pair, from, sizeof pair);
  return _mm256_set1_epi32(pair);
}

// A read-write register operand: with the intrinsic, GCC adds the products of two steps first and
// runs out of registers.
inline void add_products(__m256i& sum, __m256i weight, __m256i pair) {
  asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(_mm256_madd_epi16(weight, pair)));
}

// Packed rows are int16: q, or q >> 8 and q & 255. Zero from k on; a group of four inputs lies as
// 0 2 1 3, two pairs.
struct PairProducts {
  using Element = int16_t;

  static int64_t row_stride(int64_t k) { return round_up(k, kLinearGroup); }

  static __m256i correction(__m256i /*weight_sum*/) { return _mm256_setzero_si256(); }

  template <class Input>
  static void pack_row(const Input* row, int64_t k, int16_t* high, int16_t* low) {
    int64_t i = 0;
    for (; i + 16 <= k; i += 16) pack16(row + i, high + i, low + i);
    if (i == k) return;
    Input last[16] = {};
    int16_t last_high[16], last_low[16];
    std::memcpy(last, row + i, static_cast<std::size_t>(k - i) * sizeof(Input));
    pack16(last, last_high, last_low);
    const auto bytes = static_cast<std::size_t>(round_up(k - i, kLinearGroup)) * sizeof(int16_t);
    std::memcpy(high + i, last_high, bytes);
    if (sizeof(Input) == 2) std::memcpy(low + i, last_low, bytes);
  }

  // Per group of four inputs, the inputs 1 and 3 first: as int16 their weights are the bytes
  // shifted down; those of 0 and 2 are shifted up before. No sums across lanes are left to do.
  template <int kRows>
  static void multiply(const Operands<Element>& operands, int32_t (*sums)[kLinearBlock]) {
    const Operands<Element> o = operands;
    __m256i sum[kRows][kHalves];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (int64_t group = 0; group < o.groups; ++group) {
      _mm_prefetch(o.next_weight + group * o.next_step, _MM_HINT_T1);
      const int8_t* weight = o.weight + group * kLinearBlock * kLinearGroup;
      const int16_t* row = o.rows + group * kLinearGroup;
      __m256i left = _mm256_srai_epi16(load(weight), 8);
      __m256i right = _mm256_srai_epi16(load(weight + 32), 8);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m256i pair = load_pair(row + r * o.row_stride + 2);
        add_products(sum[r][0], left, pair);
        add_products(sum[r][1], right, pair);
      }
      left = _mm256_srai_epi16(_mm256_slli_epi16(load(weight), 8), 8);
      right = _mm256_srai_epi16(_mm256_slli_epi16(load(weight + 32), 8), 8);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m256i pair = load_pair(row + r * o.row_stride);
        add_products(sum[r][0], left, pair);
        add_products(sum[r][1], right, pair);
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      store(&sums[r][0], sum[r][0]);
      store(&sums[r][kLanes], sum[r][1]);
    }
  }
};

}  // namespace

void linear_avx2(const LinearArgs& args, Range rows, Range blocks, void* scratch) {
  run_tiles<PairProducts>(args, rows, blocks, scratch);
}

}  // namespace pyqrt
