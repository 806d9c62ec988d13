// linear, AVX-512 VNNI: u8 x s8 dot products, 6 rows x 64 channels of accumulators in registers.
// README.md explains the shape; the rows are repacked as u8 = q + 128, and what that adds is
// taken off again with weight_sum.
#include <cstring>

#include "fixed/fixed_avx512.h"
#include "ops/linear/linear.h"

namespace pyqrt {
namespace {

constexpr int kRowTile = 6;
constexpr int kBlockTile = 4;
constexpr int kColumnTile = kBlockTile * kLinearBlock;

int64_t min(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// ---- Input ------------------------------------------------------------------------------------

// Rows as planes of unsigned bytes, zero from k on. s8: one plane, q + 128. s16: the high and the
// low bytes of q + 32768.
struct PackedRows {
  uint8_t* plane[2];
  int64_t stride;  // a cache line more than the row: keeps rows out of each other's cache sets
};

void pack_row_s8(const int8_t* row, int64_t k, uint8_t* plane) {
  const __m512i offset = _mm512_set1_epi8(-128);
  for (int64_t i = 0; i < k; i += 64) {
    const __mmask64 valid = k - i < 64 ? (__mmask64{1} << (k - i)) - 1 : ~__mmask64{0};
    const __m512i q = _mm512_maskz_loadu_epi8(valid, row + i);
    _mm512_storeu_si512(plane + i, _mm512_maskz_add_epi8(valid, q, offset));
  }
}

void pack_row_s16(const int16_t* row, int64_t k, uint8_t* high, uint8_t* low) {
  const __m512i offset = _mm512_set1_epi16(-32768);
  for (int64_t i = 0; i < k; i += 32) {
    const __mmask32 valid = k - i < 32 ? (__mmask32{1} << (k - i)) - 1 : ~__mmask32{0};
    const __m512i q = _mm512_maskz_loadu_epi16(valid, row + i);
    const __m512i u = _mm512_maskz_add_epi16(valid, q, offset);
    const __m256i high_bytes = _mm512_cvtepi16_epi8(_mm512_srli_epi16(u, 8));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + i), high_bytes);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + i), _mm512_cvtepi16_epi8(u));
  }
}

PackedRows pack_rows(const LinearArgs& args, Range rows, void* scratch) {
  PackedRows packed;
  packed.stride = round_up(args.k, 64) + 64;
  packed.plane[0] = static_cast<uint8_t*>(scratch);
  packed.plane[1] = packed.plane[0] + kLinearRowChunk * packed.stride;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t from = i * args.input_stride;
    const int64_t to = (i - rows.begin) * packed.stride;
    if (args.input_type == DataType::kS8) {
      pack_row_s8(static_cast<const int8_t*>(args.input) + from, args.k, packed.plane[0] + to);
    } else {
      pack_row_s16(static_cast<const int16_t*>(args.input) + from, args.k, packed.plane[0] + to,
                   packed.plane[1] + to);
    }
  }
  return packed;
}

// ---- Product ----------------------------------------------------------------------------------

// Sums of products of one tile, row after row.
struct alignas(64) Tile {
  int32_t value[kRowTile][kColumnTile];
};

// What the sums of every row begin with. By value: were it a pointer, every store of the epilogue
// might change what it points to, and constants would be loaded again for every row.
struct Start {
  __m512i value[kBlockTile];
};

struct Operands {
  Start start;
  const uint8_t* rows;
  int64_t row_stride;
  const int8_t* weight;  // first block of the tile
  int64_t block_bytes;
  int64_t groups;
  const int8_t* next_weight;  // what this tile prefetches, and how far it moves on per group
  int64_t next_step;
};

// A read-write register operand: with the intrinsic, GCC copies accumulators between registers
// and reaches half the speed.
inline void dot_product(__m512i& sum, __m512i input, __m512i weight) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(input), "v"(weight));
}

// The unrolling comes before GCC decides what lives in registers; without it the sums do not.
template <int kRows, int kBlocks>
void multiply(const Operands& operands, Tile& tile) {
  Operands o = operands;
  __m512i sum[kRows][kBlocks];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) sum[r][b] = o.start.value[b];
  }
  for (; o.groups > 0; --o.groups) {
    _mm_prefetch(o.next_weight, _MM_HINT_T1);
    _mm_prefetch(o.next_weight + 64, _MM_HINT_T1);
    o.next_weight += o.next_step;
    __m512i weight[kBlocks];
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) {
      weight[b] = _mm512_loadu_si512(o.weight + b * o.block_bytes);
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      int32_t four;
      std::memcpy(&four, o.rows + r * o.row_stride, sizeof four);
      const __m512i input = _mm512_set1_epi32(four);
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) dot_product(sum[r][b], input, weight[b]);
    }
    o.weight += kLinearBlock * kLinearGroup;
    o.rows += kLinearGroup;
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) {
      _mm512_store_si512(&tile.value[r][b * kLinearBlock], sum[r][b]);
    }
  }
}

using Multiply = void(const Operands& operands, Tile& tile);
constexpr Multiply* kMultiply[kRowTile][kBlockTile] = {
    {multiply<1, 1>, multiply<1, 2>, multiply<1, 3>, multiply<1, 4>},
    {multiply<2, 1>, multiply<2, 2>, multiply<2, 3>, multiply<2, 4>},
    {multiply<3, 1>, multiply<3, 2>, multiply<3, 3>, multiply<3, 4>},
    {multiply<4, 1>, multiply<4, 2>, multiply<4, 3>, multiply<4, 4>},
    {multiply<5, 1>, multiply<5, 2>, multiply<5, 3>, multiply<5, 4>},
    {multiply<6, 1>, multiply<6, 2>, multiply<6, 3>, multiply<6, 4>},
};

// ---- Epilogue ---------------------------------------------------------------------------------

// What the epilogue reads per channel, for the channels of one tile. Lanes beyond the last
// channel hold zeros and are never stored.
struct Columns {
  int64_t first;
  __mmask64 valid;
  Start start;               // -128 * weight_sum, for the offset of pack_rows; s8: and the bias
  __m512i bias[kBlockTile];  // s16
  avx512::Scale scale[kBlockTile];
  bool raised = false;                      // does a channel need scale.left?
  __m512i gelu_multiplier[kBlockTile / 2];  // in the lane order of _mm512_packs_epi32

  __mmask16 valid16(int block) const { return static_cast<__mmask16>(valid >> (block * 16)); }
  __mmask32 valid32(int pair) const { return static_cast<__mmask32>(valid >> (pair * 32)); }
};

// What the epilogue reads that is the same for all channels, spread over vectors once per call.
struct Constants {
  __m512i zero_point;  // int16
  avx512::Gelu gelu;
  avx512::Rounding gelu_rounding;
  __m512i residual_multiplier;  // int32, these three
  __m512i residual_half;
  __m512i residual_shift;
};

Constants make_constants(const LinearArgs& args) {
  return {_mm512_set1_epi16(static_cast<int16_t>(args.zero_point)),
          avx512::Gelu(args.gelu),
          avx512::make_rounding(args.gelu_shift),
          _mm512_set1_epi32(args.residual_multiplier),
          _mm512_set1_epi32((int32_t{1} << args.residual_shift) >> 1),
          _mm512_set1_epi32(args.residual_shift)};
}

Columns load_columns(const LinearArgs& args, int64_t first, int64_t end) {
  Columns columns;
  columns.first = first;
  columns.valid = end - first < 64 ? (__mmask64{1} << (end - first)) - 1 : ~__mmask64{0};
  for (int b = 0; b < kBlockTile; ++b) {
    const auto load = [&](const int32_t* from) {
      return _mm512_maskz_loadu_epi32(columns.valid16(b), from + first + b * kLinearBlock);
    };
    columns.bias[b] = load(args.bias);
    const __m512i start =
        args.input_type == DataType::kS8 ? columns.bias[b] : _mm512_setzero_si512();
    columns.start.value[b] = _mm512_sub_epi32(start, _mm512_slli_epi32(load(args.weight_sum), 7));
    columns.scale[b] = avx512::make_scale(load(args.multiplier), load(args.shift));
    columns.raised |= _mm512_mask_test_epi32_mask(columns.valid16(b), columns.scale[b].left,
                                                  columns.scale[b].left) != 0;
  }
  if (args.epilogue == LinearEpilogue::kGeluS8) {
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    for (int p = 0; p < kBlockTile / 2; ++p) {
      const __m512i multiplier =
          _mm512_maskz_loadu_epi16(columns.valid32(p), args.gelu_multiplier + first + p * 32);
      columns.gelu_multiplier[p] = _mm512_permutexvar_epi64(order, multiplier);
    }
  }
  return columns;
}

__m512i load_sum(const Tile& tile, int row, int block) {
  return _mm512_load_si512(&tile.value[row][block * kLinearBlock]);
}

// s16 input: the sum is 256 * (high + correction) + low, 40 bits wide. With low = 256 * carry +
// rest it is 256 * (high + correction + carry) + rest, and either the shift leaves the first term
// whole, or the rounding constant is a multiple of 256 and the rest cannot matter.
void combine_planes(const Columns& columns, int rows, int pre_shift, const Tile& low, Tile& high) {
  for (int r = 0; r < rows; ++r) {
    for (int b = 0; b < kBlockTile; ++b) {
      const __m512i l = load_sum(low, r, b);
      const __m512i upper = _mm512_add_epi32(load_sum(high, r, b), _mm512_srai_epi32(l, 8));
      const __m512i rest = _mm512_and_si512(l, _mm512_set1_epi32(255));
      const __m512i sum =
          _mm512_add_epi32(avx512::rshr(upper, pre_shift - 8), avx512::rshr(rest, pre_shift));
      _mm512_store_si512(&high.value[r][b * kLinearBlock], _mm512_add_epi32(sum, columns.bias[b]));
    }
  }
}

// sat8(value + zero_point) of 64 channels. The inputs are int16 in the lane order of
// _mm512_packs_epi32; saturating to int16 on the way changes nothing, |zero_point| being small.
void store_s8(const LinearArgs& args, const Constants& constants, const Columns& columns, int64_t i,
              __m512i left, __m512i right) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i byte = _mm512_packs_epi16(_mm512_adds_epi16(left, constants.zero_point),
                                    _mm512_adds_epi16(right, constants.zero_point));
  byte = _mm512_max_epi8(byte, _mm512_set1_epi8(-fixed::kMaxS8));
  _mm512_mask_storeu_epi8(
      static_cast<int8_t*>(args.output) + i * args.output_stride + columns.first, columns.valid,
      _mm512_permutexvar_epi32(order, byte));
}

// Shifts are seldom below 33, so this is no part of the epilogues.
void raise_sums(const Columns& columns, int64_t rows, Tile& tile) {
  for (int r = 0; r < rows; ++r) {
    for (int b = 0; b < kBlockTile; ++b) {
      _mm512_store_si512(&tile.value[r][b * kLinearBlock],
                         _mm512_sllv_epi32(load_sum(tile, r, b), columns.scale[b].left));
    }
  }
}

template <LinearEpilogue kEpilogue>
void finish_row(const LinearArgs& args, const Constants& constants, const Columns& columns,
                int64_t i, const Tile& tile, int row) {
  __m512i r[kBlockTile];
  for (int b = 0; b < kBlockTile; ++b) {
    r[b] = load_sum(tile, row, b);
    r[b] = avx512::requantize_raised(r[b], columns.scale[b]);
  }
  if constexpr (kEpilogue == LinearEpilogue::kRequantizeS8) {
    store_s8(args, constants, columns, i, _mm512_packs_epi32(r[0], r[1]),
             _mm512_packs_epi32(r[2], r[3]));
  } else if constexpr (kEpilogue == LinearEpilogue::kGeluS8) {
    const __m512i left = constants.gelu(_mm512_packs_epi32(r[0], r[1]));
    const __m512i right = constants.gelu(_mm512_packs_epi32(r[2], r[3]));
    store_s8(args, constants, columns, i,
             avx512::mul_rshr(left, columns.gelu_multiplier[0], constants.gelu_rounding),
             avx512::mul_rshr(right, columns.gelu_multiplier[1], constants.gelu_rounding));
  } else if constexpr (kEpilogue == LinearEpilogue::kRequantizeS32) {
    int32_t* output = static_cast<int32_t*>(args.output) + i * args.output_stride;
    for (int b = 0; b < kBlockTile; ++b) {
      _mm512_mask_storeu_epi32(output + columns.first + b * kLinearBlock, columns.valid16(b), r[b]);
    }
  } else {
    if constexpr (kEpilogue == LinearEpilogue::kResidualS16) {
      const int16_t* residual = args.residual + i * args.residual_stride;
      for (int b = 0; b < kBlockTile; ++b) {
        const __m512i value = _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(
            columns.valid16(b), residual + columns.first + b * kLinearBlock));
        // The upper halves meet zeros, so this adds the plain product.
        const __m512i product =
            _mm512_dpwssd_epi32(constants.residual_half, value, constants.residual_multiplier);
        r[b] = _mm512_add_epi32(r[b], _mm512_srav_epi32(product, constants.residual_shift));
      }
    }
    int16_t* output = static_cast<int16_t*>(args.output) + i * args.output_stride;
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    for (int p = 0; p < kBlockTile / 2; ++p) {
      __m512i packed = _mm512_packs_epi32(r[2 * p], r[2 * p + 1]);
      if constexpr (kEpilogue == LinearEpilogue::kGeluS16) {
        packed = constants.gelu(packed);
      } else {
        packed = _mm512_max_epi16(packed, _mm512_set1_epi16(-fixed::kMaxS16));
      }
      _mm512_mask_storeu_epi16(output + columns.first + p * 32, columns.valid32(p),
                               _mm512_permutexvar_epi64(order, packed));
    }
  }
}

template <LinearEpilogue kEpilogue>
void finish_rows(const LinearArgs& args, const Constants& constants, const Columns& columns,
                 Range rows, Tile& tile) {
  for (int r = 0; r < rows.size(); ++r) {
    finish_row<kEpilogue>(args, constants, columns, rows.begin + r, tile, r);
  }
}

void finish(const LinearArgs& args, const Constants& constants, const Columns& columns, Range rows,
            Tile& tile) {
  switch (args.epilogue) {
    case LinearEpilogue::kRequantizeS8:
      return finish_rows<LinearEpilogue::kRequantizeS8>(args, constants, columns, rows, tile);
    case LinearEpilogue::kRequantizeS16:
      return finish_rows<LinearEpilogue::kRequantizeS16>(args, constants, columns, rows, tile);
    case LinearEpilogue::kRequantizeS32:
      return finish_rows<LinearEpilogue::kRequantizeS32>(args, constants, columns, rows, tile);
    case LinearEpilogue::kGeluS8:
      return finish_rows<LinearEpilogue::kGeluS8>(args, constants, columns, rows, tile);
    case LinearEpilogue::kGeluS16:
      return finish_rows<LinearEpilogue::kGeluS16>(args, constants, columns, rows, tile);
    case LinearEpilogue::kResidualS16:
      return finish_rows<LinearEpilogue::kResidualS16>(args, constants, columns, rows, tile);
  }
}

}  // namespace

void linear_avx512vnni(const LinearArgs& args, Range rows, Range blocks, void* scratch) {
  const int64_t end = min(blocks.end * kLinearBlock, args.n);
  const Constants constants = make_constants(args);
  Operands operands;
  operands.groups = ceil_div(args.k, kLinearGroup);
  operands.block_bytes = operands.groups * kLinearGroup * kLinearBlock;
  // A tile's last block may be missing; what stands in its place is finished, but not stored.
  Tile tile[2] = {};
  for (int64_t begin = rows.begin; begin < rows.end; begin += kLinearRowChunk) {
    const Range chunk{begin, min(begin + kLinearRowChunk, rows.end)};
    const PackedRows packed = pack_rows(args, chunk, scratch);
    operands.row_stride = packed.stride;
    // Tiles of nearly equal height: a tile of one row would cost as much as one of three.
    const int64_t tiles = ceil_div(chunk.size(), kRowTile);
    operands.next_step = kBlockTile * 64 / tiles;
    for (int64_t block = blocks.begin; block < blocks.end; block += kBlockTile) {
      const Columns columns = load_columns(args, block * kLinearBlock, end);
      const int64_t width = min(blocks.end - block, kBlockTile);
      operands.weight = args.weight + block * operands.block_bytes;
      for (int64_t t = 0; t < tiles; ++t) {
        const Range part{chunk.size() * t / tiles, chunk.size() * (t + 1) / tiles};
        Multiply* const multiply_tile = kMultiply[part.size() - 1][width - 1];
        // The tiles share the prefetching of the next blocks out among them. After the last
        // blocks it runs on into whatever follows, often the next layer; it cannot fault.
        operands.next_weight = operands.weight + kBlockTile * operands.block_bytes +
                               t * operands.next_step * operands.groups;
        operands.start = columns.start;
        operands.rows = packed.plane[0] + part.begin * packed.stride;
        multiply_tile(operands, tile[0]);
        if (args.input_type == DataType::kS16) {
          operands.start = {};
          operands.rows = packed.plane[1] + part.begin * packed.stride;
          multiply_tile(operands, tile[1]);
          combine_planes(columns, static_cast<int>(part.size()), args.pre_shift, tile[1], tile[0]);
        }
        if (columns.raised) raise_sums(columns, part.size(), tile[0]);
        finish(args, constants, columns, {chunk.begin + part.begin, chunk.begin + part.end},
               tile[0]);
      }
    }
  }
}

}  // namespace pyqrt
