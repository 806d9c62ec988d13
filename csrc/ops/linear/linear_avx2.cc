// linear, AVX2: int16 pair products (vpmaddwd), 6 rows x 16 channels of accumulators in registers.
// README.md explains the shape; every step is exact for every int8 and int16 value.
#include <cstring>

#include "fixed/fixed_avx2.h"
#include "ops/linear/linear.h"

namespace pyqrt {
namespace {

constexpr int kRowTile = 6;
constexpr int kHalves = 2;  // vectors of 8 int32 per block
constexpr int kLanes = 8;

int64_t min(int64_t a, int64_t b) {
  return a < b ? a : b;
}

__m256i load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}
void store(void* to, __m256i value) {
  _mm256_storeu_si256(static_cast<__m256i*>(to), value);
}

// ---- Input ------------------------------------------------------------------------------------

// Rows as planes of int16, zero from k on; a group of four inputs lies as 0 2 1 3, two pairs.
// s8: one plane, q. s16: q >> 8 and q & 255.
struct PackedRows {
  int16_t* plane[2];
  int64_t stride;
};

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

template <class Input>
void pack_row(const Input* row, int64_t k, int16_t* high, int16_t* low) {
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

PackedRows pack_rows(const LinearArgs& args, Range rows, void* scratch) {
  PackedRows packed;
  packed.stride = round_up(args.k, kLinearGroup);
  packed.plane[0] = static_cast<int16_t*>(scratch);
  packed.plane[1] = packed.plane[0] + kLinearRowChunk * packed.stride;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t from = i * args.input_stride;
    int16_t* const high = packed.plane[0] + (i - rows.begin) * packed.stride;
    int16_t* const low = packed.plane[1] + (i - rows.begin) * packed.stride;
    if (args.input_type == DataType::kS8) {
      pack_row(static_cast<const int8_t*>(args.input) + from, args.k, high, low);
    } else {
      pack_row(static_cast<const int16_t*>(args.input) + from, args.k, high, low);
    }
  }
  return packed;
}

// ---- Product ----------------------------------------------------------------------------------

// Sums of products of one tile, row after row.
struct alignas(32) Tile {
  int32_t value[kRowTile][kLinearBlock];
};

struct Operands {
  const int16_t* rows;
  int64_t row_stride;
  const int8_t* weight;  // the block
  int64_t groups;
};

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

// Per group of four inputs, the inputs 1 and 3 first: as int16 their weights are the bytes
// shifted down; those of 0 and 2 are shifted up before. No sums across lanes are left to do.
template <int kRows>
void multiply(const Operands& operands, Tile& tile) {
  const Operands o = operands;
  __m256i sum[kRows][kHalves];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
  for (int64_t group = 0; group < o.groups; ++group) {
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
    store(&tile.value[r][0], sum[r][0]);
    store(&tile.value[r][kLanes], sum[r][1]);
  }
}

using Multiply = void(const Operands& operands, Tile& tile);
constexpr Multiply* kMultiply[kRowTile] = {multiply<1>, multiply<2>, multiply<3>,
                                           multiply<4>, multiply<5>, multiply<6>};

// ---- Epilogue ---------------------------------------------------------------------------------

// What the epilogue reads per channel, for the channels of one block.
struct Columns {
  int64_t first;
  int64_t count;  // of valid channels
  __m256i bias[kHalves];
  avx2::Scale scale[kHalves];
  __m256i gelu_multiplier;
};

Columns load_columns(const LinearArgs& args, int64_t first, int64_t end) {
  Columns columns;
  columns.first = first;
  columns.count = min(end - first, kLinearBlock);
  for (int h = 0; h < kHalves; ++h) {
    const int64_t at = first + h * kLanes;
    columns.bias[h] = load(args.bias + at);
    columns.scale[h] = avx2::make_scale(load(args.multiplier + at), load(args.shift + at));
  }
  columns.gelu_multiplier = args.epilogue == LinearEpilogue::kGeluS8
                                ? load(args.gelu_multiplier + first)
                                : _mm256_setzero_si256();
  return columns;
}

// s16 input: the sum is 256 * high + low, 40 bits wide. With low = 256 * carry + rest it is
// 256 * (high + carry) + rest, and either the shift leaves the first term whole, or the rounding
// constant is a multiple of 256 and the rest cannot matter.
void combine_planes(int64_t rows, int pre_shift, const Tile& low, Tile& high) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int h = 0; h < kHalves; ++h) {
      const __m256i l = load(&low.value[r][h * kLanes]);
      const __m256i upper =
          _mm256_add_epi32(load(&high.value[r][h * kLanes]), _mm256_srai_epi32(l, 8));
      const __m256i rest = _mm256_and_si256(l, _mm256_set1_epi32(255));
      store(&high.value[r][h * kLanes],
            _mm256_add_epi32(avx2::rshr(upper, pre_shift - 8), avx2::rshr(rest, pre_shift)));
    }
  }
}

// The first `count` of 16 elements.
template <class T>
void store_first(T* to, const T (&from)[kLinearBlock], int64_t count) {
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
}

void store_s16(int16_t* to, __m256i value, int64_t count) {
  if (count == kLinearBlock) return store(to, value);
  int16_t all[kLinearBlock];
  store(all, value);
  store_first(to, all, count);
}

// sat8(value + zero_point) of 16 channels. Saturating to int16 on the way changes nothing,
// |zero_point| being small.
void store_s8(int8_t* to, __m256i value, int32_t zero_point, int64_t count) {
  const __m256i sum = _mm256_adds_epi16(value, _mm256_set1_epi16(static_cast<int16_t>(zero_point)));
  const __m128i packed =
      _mm_packs_epi16(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  const __m128i byte = _mm_max_epi8(packed, _mm_set1_epi8(-fixed::kMaxS8));
  if (count == kLinearBlock) return _mm_storeu_si128(reinterpret_cast<__m128i*>(to), byte);
  int8_t all[kLinearBlock];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(all), byte);
  store_first(to, all, count);
}

__m256i load_s16(const int16_t* from, int64_t count) {
  if (count == kLinearBlock) return load(from);
  int16_t all[kLinearBlock] = {};
  std::memcpy(all, from, static_cast<std::size_t>(count) * sizeof(int16_t));
  return load(all);
}

__m256i pack_s16(__m256i left, __m256i right) {
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(left, right), 0xD8);
}
__m256i pack_sat16(__m256i left, __m256i right) {
  return _mm256_max_epi16(pack_s16(left, right), _mm256_set1_epi16(-fixed::kMaxS16));
}

template <LinearEpilogue kEpilogue>
void finish_row(const LinearArgs& args, const Columns& columns, int64_t i, const int32_t* sum) {
  const int64_t at = i * args.output_stride + columns.first;
  __m256i r[kHalves];
  for (int h = 0; h < kHalves; ++h) {
    const __m256i acc = _mm256_add_epi32(load(sum + h * kLanes), columns.bias[h]);
    r[h] = avx2::requantize(acc, columns.scale[h]);
  }
  if constexpr (kEpilogue == LinearEpilogue::kRequantizeS8) {
    store_s8(static_cast<int8_t*>(args.output) + at, pack_s16(r[0], r[1]), args.zero_point,
             columns.count);
  } else if constexpr (kEpilogue == LinearEpilogue::kGeluS8) {
    const __m256i g = avx2::gelu(pack_sat16(r[0], r[1]));
    store_s8(static_cast<int8_t*>(args.output) + at,
             avx2::mul_rshr(g, columns.gelu_multiplier, args.gelu_shift), args.zero_point,
             columns.count);
  } else if constexpr (kEpilogue == LinearEpilogue::kRequantizeS32) {
    int32_t all[kLinearBlock];
    store(all, r[0]);
    store(all + kLanes, r[1]);
    store_first(static_cast<int32_t*>(args.output) + at, all, columns.count);
  } else {
    if constexpr (kEpilogue == LinearEpilogue::kResidualS16) {
      const __m256i residual =
          load_s16(args.residual + i * args.residual_stride + columns.first, columns.count);
      const __m256i multiplier = _mm256_set1_epi32(args.residual_multiplier);
      for (int h = 0; h < kHalves; ++h) {
        const __m128i half =
            h == 0 ? _mm256_castsi256_si128(residual) : _mm256_extracti128_si256(residual, 1);
        // The upper halves meet zeros, so this is the plain product, in one instruction.
        const __m256i product = _mm256_madd_epi16(_mm256_cvtepi16_epi32(half), multiplier);
        r[h] = _mm256_add_epi32(r[h], avx2::rshr(product, args.residual_shift));
      }
    }
    __m256i value = pack_sat16(r[0], r[1]);
    if constexpr (kEpilogue == LinearEpilogue::kGeluS16) value = avx2::gelu(value);
    store_s16(static_cast<int16_t*>(args.output) + at, value, columns.count);
  }
}

template <LinearEpilogue kEpilogue>
void finish_rows(const LinearArgs& args, const Columns& columns, Range rows, const Tile& tile) {
  for (int64_t r = 0; r < rows.size(); ++r) {
    finish_row<kEpilogue>(args, columns, rows.begin + r, tile.value[r]);
  }
}

void finish(const LinearArgs& args, const Columns& columns, Range rows, const Tile& tile) {
  switch (args.epilogue) {
    case LinearEpilogue::kRequantizeS8:
      return finish_rows<LinearEpilogue::kRequantizeS8>(args, columns, rows, tile);
    case LinearEpilogue::kRequantizeS16:
      return finish_rows<LinearEpilogue::kRequantizeS16>(args, columns, rows, tile);
    case LinearEpilogue::kRequantizeS32:
      return finish_rows<LinearEpilogue::kRequantizeS32>(args, columns, rows, tile);
    case LinearEpilogue::kGeluS8:
      return finish_rows<LinearEpilogue::kGeluS8>(args, columns, rows, tile);
    case LinearEpilogue::kGeluS16:
      return finish_rows<LinearEpilogue::kGeluS16>(args, columns, rows, tile);
    case LinearEpilogue::kResidualS16:
      return finish_rows<LinearEpilogue::kResidualS16>(args, columns, rows, tile);
  }
}

}  // namespace

void linear_avx2(const LinearArgs& args, Range rows, Range blocks, void* scratch) {
  const int64_t end = min(blocks.end * kLinearBlock, args.n);
  Operands operands;
  operands.groups = ceil_div(args.k, kLinearGroup);
  const int64_t block_bytes = operands.groups * kLinearGroup * kLinearBlock;
  Tile tile[2];
  for (int64_t begin = rows.begin; begin < rows.end; begin += kLinearRowChunk) {
    const Range chunk{begin, min(begin + kLinearRowChunk, rows.end)};
    const PackedRows packed = pack_rows(args, chunk, scratch);
    operands.row_stride = packed.stride;
    // Tiles of nearly equal height: low ones spend their time on widening the weights.
    const int64_t tiles = ceil_div(chunk.size(), kRowTile);
    for (int64_t block = blocks.begin; block < blocks.end; ++block) {
      const Columns columns = load_columns(args, block * kLinearBlock, end);
      operands.weight = args.weight + block * block_bytes;
      for (int64_t t = 0; t < tiles; ++t) {
        const Range part{chunk.size() * t / tiles, chunk.size() * (t + 1) / tiles};
        Multiply* const multiply_tile = kMultiply[part.size() - 1];
        operands.rows = packed.plane[0] + part.begin * packed.stride;
        multiply_tile(operands, tile[0]);
        if (args.input_type == DataType::kS16) {
          operands.rows = packed.plane[1] + part.begin * packed.stride;
          multiply_tile(operands, tile[1]);
          combine_planes(part.size(), args.pre_shift, tile[1], tile[0]);
        }
        finish(args, columns, {chunk.begin + part.begin, chunk.begin + part.end}, tile[0]);
      }
    }
  }
}

}  // namespace pyqrt
