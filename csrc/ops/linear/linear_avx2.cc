// linear, AVX2: bytes multiplied two at a time (vpmaddubsw) with a weight rearranged for it, else
// 16 bits two at a time (vpmaddwd). README.md explains the shape; every step is exact for every
// int8 and int16 value.
#include "ops/linear/linear_paired.h"
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
struct WidenedProducts {
  static constexpr int kRowTile = 6;
  using Element = int16_t;
  using Block = FileBlock;

  static Block block(const LinearArgs& args, int64_t index) { return file_block(args, index); }

  static int64_t row_stride(int64_t k) { return round_up(k, kLinearGroup); }

  static __m256i correction(__m256i /*weight_sum*/) { return _mm256_setzero_si256(); }

  template <class Input>
  static void pack_rows(const Input* row, int64_t input_stride, int64_t rows, int64_t k,
                        Element* high, Element* low) {
    pack_each_row<WidenedProducts>(row, input_stride, rows, k, high, low);
  }

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
  static void multiply(const Operands<WidenedProducts>& operands, int32_t (*sums)[kLinearBlock]) {
    const Operands<WidenedProducts> o = operands;
    __m256i sum[kRows][kHalves];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (int64_t group = 0; group < o.block.groups; ++group) {
      _mm_prefetch(o.next_weight + group * o.next_step, _MM_HINT_T1);
      const int8_t* weight = o.block.weight + group * kGroupBytes;
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

// The dwords of eight vectors as an 8 x 8 matrix, transposed.
void transpose(__m256i (&v)[8]) {
  __m256i w[8];
  for (int i = 0; i < 8; i += 2) {
    w[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    w[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    v[i] = _mm256_unpacklo_epi64(w[i], w[i + 2]);
    v[i + 1] = _mm256_unpackhi_epi64(w[i], w[i + 2]);
    v[i + 2] = _mm256_unpacklo_epi64(w[i + 1], w[i + 3]);
    v[i + 3] = _mm256_unpackhi_epi64(w[i + 1], w[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    const __m256i upper = v[i + 4];
    v[i + 4] = _mm256_permute2x128_si256(v[i], upper, 0x31);
    v[i] = _mm256_permute2x128_si256(v[i], upper, 0x20);
  }
}

// With a PairedWeight, which linear_paired.h explains. Packed rows are unsigned bytes, q + 128 or
// the high and the low ones of q + 32768; a group of all rows of a tile lies together, first in the
// first order, then in the second. From k on there may be anything.
struct PairedProducts {
  static constexpr int kRowTile = 8;
  using Element = uint8_t;
  struct Block : FileBlock {  // its groups are pairs of those of half the block
    const uint16_t* place;
    int64_t left;  // pairs of the first half
  };

  static Block block(const LinearArgs& args, int64_t index) {
    const PairedWeight& all = *args.paired;
    const int64_t* const first = all.first.data() + 2 * index;
    return {{all.weight.data() + first[0] * PairedWeight::kBytes, first[2] - first[0]},
            all.place.data() + 2 * first[0],
            first[1] - first[0]};
  }

  static int64_t row_stride(int64_t k) { return 2 * round_up(k, 32); }

  static __m256i correction(__m256i weight_sum) { return offset_correction(weight_sum); }

  template <class Input>
  static void pack_rows(const Input* row, int64_t input_stride, int64_t rows, int64_t k,
                        uint8_t* high, uint8_t* low) {
    const int64_t place_bytes = rows * kLinearGroup;
    for (int64_t i = 0; i < k; i += 32) {
      __m256i high_bytes[kRowTile], low_bytes[kRowTile];
      for (int64_t r = 0; r < kRowTile; ++r) {
        const Input* from = row + min(r, rows - 1) * input_stride + i;
        Input last[32];
        if (k - i < 32) {
          std::memset(last, 0, sizeof last);
          std::memcpy(last, from, static_cast<std::size_t>(k - i) * sizeof(Input));
          from = last;
        }
        const Bytes bytes = offset_bytes(from);
        high_bytes[r] = bytes.high;
        low_bytes[r] = bytes.low;
      }
      const int64_t at = paired_place(i / kLinearGroup, 0) * place_bytes;
      pack_groups(high_bytes, place_bytes, high + at);
      if (sizeof(Input) == 2) pack_groups(low_bytes, place_bytes, low + at);
    }
  }

  template <int kRows>
  static void multiply(const Operands<PairedProducts>& operands, int32_t (*sums)[kLinearBlock]) {
    const Block& block = operands.block;
    multiply_half<kRows>(operands, 0, block.left, sums[0]);
    multiply_half<kRows>(operands, block.left, block.groups, sums[0] + kLanes);
  }

 private:
  // 8 groups of each row. Every store is of 8 rows; what is not the tile's, the next one covers.
  static void pack_groups(__m256i (&rows)[kRowTile], int64_t place_bytes, uint8_t* to) {
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(kPairedOrder)));
    transpose(rows);
    for (int g = 0; g < 8; ++g) {
      store(to + paired_place(g, 0) * place_bytes, rows[g]);
      store(to + paired_place(g, 1) * place_bytes, _mm256_shuffle_epi8(rows[g], order));
    }
  }

  static __m256i load_group(const uint8_t* from) {
    int32_t group;
    std::memcpy(&group, from, sizeof group);
    return _mm256_set1_epi32(group);
  }

  // The pairs [pair, end) of the block.
  template <int kRows>
  static void multiply_half(const Operands<PairedProducts>& operands, int64_t pair, int64_t end,
                            int32_t* sums) {
    constexpr int64_t kPlaceBytes = kRows * kLinearGroup;
    const Operands<PairedProducts> o = operands;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sum[r] = _mm256_setzero_si256();
    for (; pair < end; ++pair) {
      _mm_prefetch(o.next_weight + pair * o.next_step, _MM_HINT_T1);
      const int8_t* weight = o.block.weight + pair * PairedWeight::kBytes;
      const __m256i first = load(weight);
      const __m256i second = load(weight + PairedWeight::kBytes / 2);
      const uint8_t* first_inputs = o.rows + int64_t{o.block.place[2 * pair]} * kPlaceBytes;
      const uint8_t* second_inputs = o.rows + int64_t{o.block.place[2 * pair + 1]} * kPlaceBytes;
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const int64_t row = r * kLinearGroup;
        const __m256i four =
            _mm256_add_epi16(_mm256_maddubs_epi16(load_group(first_inputs + row), first),
                             _mm256_maddubs_epi16(load_group(second_inputs + row), second));
        add_products(sum[r], four, ones);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) store(sums + r * kLinearBlock, sum[r]);
  }
};

}  // namespace

void linear_avx2(const LinearArgs& args, Range rows, Range blocks, void* scratch) {
  // A single row waits for memory, and there is less to read of the weight as it lies.
  if (args.paired != nullptr && rows.size() > 1) {
    run_tiles<PairedProducts>(args, rows, blocks, scratch);
  } else {
    run_tiles<WidenedProducts>(args, rows, blocks, scratch);
  }
}

}  // namespace pyqrt
