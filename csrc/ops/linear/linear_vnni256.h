// linear, 256-bit VNNI: u8 x s8 dot products, in whichever encoding the including file is compiled
// for. README.md explains the shape; rows are packed as u8 = q + 128, and what that adds is taken
// off again with weight_sum.
#pragma once

#include "ops/linear/linear_tiles256.h"

namespace pyqrt {
namespace {

// 32 inputs at a time.
template <class Input>
void pack32(const Input* from, uint8_t* high, uint8_t* low) {
  const Bytes bytes = offset_bytes(from);
  store(high, bytes.high);
  if (sizeof(Input) == 2) store(low, bytes.low);
}

// A read-write register operand: with the intrinsic, GCC copies accumulators between registers.
inline void dot_product(__m256i& sum, __m256i input, __m256i weight) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(input), "v"(weight));
#else  // AVX-VNNI: the assembler would take the EVEX encoding, which these CPUs lack
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(input), "x"(weight));
#endif
}

// Packed rows are unsigned bytes: q + 128, or the high and the low bytes of q + 32768. From k on
// they may hold anything: the weights there are zeros.
struct DotProducts {
  static constexpr int kRowTile = 6;
  using Element = uint8_t;
  using Block = FileBlock;

  static Block block(const LinearArgs& args, int64_t index) { return file_block(args, index); }

  // A cache line more than the row: keeps rows out of each other's cache sets.
  static int64_t row_stride(int64_t k) { return round_up(k, 64) + 64; }

  static __m256i correction(__m256i weight_sum) { return offset_correction(weight_sum); }

  template <class Input>
  static void pack_rows(const Input* row, int64_t input_stride, int64_t rows, int64_t k,
                        Element* high, Element* low) {
    pack_each_row<DotProducts>(row, input_stride, rows, k, high, low);
  }

  template <class Input>
  static void pack_row(const Input* row, int64_t k, uint8_t* high, uint8_t* low) {
    int64_t i = 0;
    for (; i + 32 <= k; i += 32) pack32(row + i, high + i, low + i);
    if (i == k) return;
    Input last[32] = {};
    std::memcpy(last, row + i, static_cast<std::size_t>(k - i) * sizeof(Input));
    pack32(last, high + i, low + i);
  }

  template <int kRows>
  static void multiply(const Operands<DotProducts>& operands, int32_t (*sums)[kLinearBlock]) {
    const Operands<DotProducts> o = operands;
    __m256i sum[kRows][kHalves];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (int64_t group = 0; group < o.block.groups; ++group) {
      _mm_prefetch(o.next_weight + group * o.next_step, _MM_HINT_T1);
      const int8_t* weight = o.block.weight + group * kGroupBytes;
      const __m256i left = load(weight);
      const __m256i right = load(weight + 32);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        int32_t four;
        std::memcpy(&four, o.rows + r * o.row_stride + group * kLinearGroup, sizeof four);
        const __m256i input = _mm256_set1_epi32(four);
        dot_product(sum[r][0], input, left);
        dot_product(sum[r][1], input, right);
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
}  // namespace pyqrt
