// What the 256-bit variants of linear share: everything but the product. A product is
//   struct Product {
//     static constexpr int kRowTile;          the most rows of a tile, a divisor of kLinearRowChunk
//     using Element;                          of packed rows
//     using Block = FileBlock;                the weights of a block, or what derives from it
//     static Block block(args, int64_t index);
//     static int64_t row_stride(int64_t k);   of packed rows, in elements
//     static void pack_rows(row, input_stride, rows, k, high, low)
//                                             of a tile; s8: one plane, `high`; s16: both
//     static __m256i correction(weight_sum)   what to add for the offset of packed rows
//     template <int kRows> static void multiply(const Operands<Product>&, int32_t (*sums)[16]);
//   };
// In an anonymous namespace, because it is compiled once per instruction set.
#pragma once

#include <cstring>
#include <utility>

#include "fixed/fixed_avx2.h"
#include "ops/linear/linear.h"

namespace pyqrt {
namespace {

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

// ---- Product ----------------------------------------------------------------------------------

// Sums of products of a chunk of rows by the channels of a block.
struct alignas(32) Sums {
  int32_t value[kLinearRowChunk][kLinearBlock];
};

constexpr int64_t kGroupBytes = kLinearBlock * kLinearGroup;

// The weights of a block as they lie in a file.
struct FileBlock {
  const int8_t* weight;  // [groups][kGroupBytes]
  int64_t groups;
};

FileBlock file_block(const LinearArgs& args, int64_t index) {
  const int64_t groups = ceil_div(args.k, kLinearGroup);
  return {args.weight + index * groups * kGroupBytes, groups};
}

template <class Product>
struct Operands {
  const typename Product::Element* rows;
  int64_t row_stride;
  typename Product::Block block;
  const int8_t* next_weight;  // what this tile prefetches, and how far it moves on per group
  int64_t next_step;
};

template <class Product>
using Multiply = void(const Operands<Product>& operands, int32_t (*sums)[kLinearBlock]);

template <class Product, int... kRowsLess1>
Multiply<Product>* multiply_rows(int64_t rows, std::integer_sequence<int, kRowsLess1...>) {
  static constexpr Multiply<Product>* kByRows[] = {Product::template multiply<kRowsLess1 + 1>...};
  return kByRows[rows - 1];
}

// The product of a tile of up to Product::kRowTile rows.
template <class Product>
Multiply<Product>* multiply_rows(int64_t rows) {
  return multiply_rows<Product>(rows, std::make_integer_sequence<int, Product::kRowTile>{});
}

// ---- Epilogue ---------------------------------------------------------------------------------

// What the epilogue reads per channel, for the channels of one block.
struct Columns {
  int64_t first;
  int64_t count;                // of valid channels
  __m256i correction[kHalves];  // of the offset in packed rows, if the product has one
  __m256i bias[kHalves];        // s8 input: with the correction
  avx2::Scale scale[kHalves];
  __m256i gelu_multiplier;
};

template <class Product>
Columns load_columns(const LinearArgs& args, int64_t first, int64_t end) {
  Columns columns;
  columns.first = first;
  columns.count = min(end - first, kLinearBlock);
  for (int h = 0; h < kHalves; ++h) {
    const int64_t at = first + h * kLanes;
    columns.correction[h] = Product::correction(load(args.weight_sum + at));
    columns.bias[h] = load(args.bias + at);
    if (args.input_type == DataType::kS8) {
      columns.bias[h] = _mm256_add_epi32(columns.bias[h], columns.correction[h]);
    }
    columns.scale[h] = avx2::make_scale(load(args.multiplier + at), load(args.shift + at));
  }
  columns.gelu_multiplier = args.epilogue == LinearEpilogue::kGeluS8
                                ? load(args.gelu_multiplier + first)
                                : _mm256_setzero_si256();
  return columns;
}

// s16 input: the sum is 256 * (high + correction) + low, 40 bits wide. With low = 256 * carry +
// rest it is 256 * (high + correction + carry) + rest, and either the shift leaves the first term
// whole, or the rounding constant is a multiple of 256 and the rest cannot matter.
void combine_planes(const Columns& columns, int64_t rows, int pre_shift, const Sums& low,
                    Sums& high) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int h = 0; h < kHalves; ++h) {
      const __m256i l = load(&low.value[r][h * kLanes]);
      const __m256i carry = _mm256_add_epi32(_mm256_srai_epi32(l, 8), columns.correction[h]);
      const __m256i upper = _mm256_add_epi32(load(&high.value[r][h * kLanes]), carry);
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
constexpr bool kHasGelu =
    kEpilogue == LinearEpilogue::kGeluS8 || kEpilogue == LinearEpilogue::kGeluS16;

// r of every sum of a tile, in place, half after half, so that a half's scale stays in registers.
// For GELU, whose constants otherwise compete for them.
void requantize_sums(const Columns& columns, int64_t rows, Sums& sums) {
  for (int h = 0; h < kHalves; ++h) {
    const avx2::Scale scale = columns.scale[h];
    const __m256i bias = columns.bias[h];
    for (int64_t r = 0; r < rows; ++r) {
      int32_t* const sum = &sums.value[r][h * kLanes];
      store(sum, avx2::requantize(_mm256_add_epi32(load(sum), bias), scale));
    }
  }
}

template <LinearEpilogue kEpilogue>
void finish_row(const LinearArgs& args, const Columns& columns, const avx2::Gelu& gelu, int64_t i,
                const int32_t* sum) {
  const int64_t at = i * args.output_stride + columns.first;
  __m256i r[kHalves];
  for (int h = 0; h < kHalves; ++h) {
    r[h] = load(sum + h * kLanes);
    if constexpr (!kHasGelu<kEpilogue>) {
      r[h] = avx2::requantize(_mm256_add_epi32(r[h], columns.bias[h]), columns.scale[h]);
    }
  }
  if constexpr (kEpilogue == LinearEpilogue::kRequantizeS8) {
    store_s8(static_cast<int8_t*>(args.output) + at, pack_s16(r[0], r[1]), args.zero_point,
             columns.count);
  } else if constexpr (kEpilogue == LinearEpilogue::kGeluS8) {
    const __m256i g = gelu(pack_sat16(r[0], r[1]));
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
    if constexpr (kEpilogue == LinearEpilogue::kGeluS16) value = gelu(value);
    store_s16(static_cast<int16_t*>(args.output) + at, value, columns.count);
  }
}

template <LinearEpilogue kEpilogue>
void finish_rows(const LinearArgs& args, const Columns& columns, Range rows, Sums& sums) {
  if constexpr (kHasGelu<kEpilogue>) requantize_sums(columns, rows.size(), sums);
  const avx2::Gelu gelu(args.gelu);
  for (int64_t r = 0; r < rows.size(); ++r) {
    finish_row<kEpilogue>(args, columns, gelu, rows.begin + r, sums.value[r]);
  }
}

void finish(const LinearArgs& args, const Columns& columns, Range rows, Sums& sums) {
  switch (args.epilogue) {
    case LinearEpilogue::kRequantizeS8:
      return finish_rows<LinearEpilogue::kRequantizeS8>(args, columns, rows, sums);
    case LinearEpilogue::kRequantizeS16:
      return finish_rows<LinearEpilogue::kRequantizeS16>(args, columns, rows, sums);
    case LinearEpilogue::kRequantizeS32:
      return finish_rows<LinearEpilogue::kRequantizeS32>(args, columns, rows, sums);
    case LinearEpilogue::kGeluS8:
      return finish_rows<LinearEpilogue::kGeluS8>(args, columns, rows, sums);
    case LinearEpilogue::kGeluS16:
      return finish_rows<LinearEpilogue::kGeluS16>(args, columns, rows, sums);
    case LinearEpilogue::kResidualS16:
      return finish_rows<LinearEpilogue::kResidualS16>(args, columns, rows, sums);
  }
}

// ---- Tiles ------------------------------------------------------------------------------------

// Planes of packed rows: one for s8 input, the high and the low bytes for s16.
template <class Product>
struct PackedRows {
  typename Product::Element* plane[2];
  int64_t stride;
};

// 32 inputs as unsigned bytes: s8: q + 128, in `high`; s16: the bytes of q + 32768.
struct Bytes {
  __m256i high;
  __m256i low;
};
Bytes offset_bytes(const int8_t* from) {
  return {_mm256_add_epi8(load(from), _mm256_set1_epi8(-128)), _mm256_setzero_si256()};
}
Bytes offset_bytes(const int16_t* from) {
  const __m256i offset = _mm256_set1_epi16(-32768);
  const __m256i left = _mm256_add_epi16(load(from), offset);
  const __m256i right = _mm256_add_epi16(load(from + 16), offset);
  const __m256i byte = _mm256_set1_epi16(255);
  const __m256i high = _mm256_packus_epi16(_mm256_srli_epi16(left, 8), _mm256_srli_epi16(right, 8));
  const __m256i low =
      _mm256_packus_epi16(_mm256_and_si256(left, byte), _mm256_and_si256(right, byte));
  return {_mm256_permute4x64_epi64(high, 0xD8), _mm256_permute4x64_epi64(low, 0xD8)};
}

// What that offset adds to a sum, taken off.
__m256i offset_correction(__m256i weight_sum) {
  return _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(weight_sum, 7));
}

// pack_rows of a product whose packed rows lie one after the other.
template <class Product, class Input>
void pack_each_row(const Input* row, int64_t input_stride, int64_t rows, int64_t k,
                   typename Product::Element* high, typename Product::Element* low) {
  const int64_t stride = Product::row_stride(k);
  for (int64_t r = 0; r < rows; ++r) {
    Product::pack_row(row + r * input_stride, k, high + r * stride, low + r * stride);
  }
}

// Tiles of nearly equal height: low ones spend their time on reading the weights.
Range tile_rows(int64_t rows, int64_t tiles, int64_t tile) {
  return {rows * tile / tiles, rows * (tile + 1) / tiles};
}

// Tile t is packed at row t * Product::kRowTile.
template <class Product>
PackedRows<Product> pack_chunk(const LinearArgs& args, Range chunk, int64_t tiles, void* scratch) {
  using Element = typename Product::Element;
  PackedRows<Product> packed;
  packed.stride = Product::row_stride(args.k);
  packed.plane[0] = static_cast<Element*>(scratch);
  packed.plane[1] = packed.plane[0] + kLinearRowChunk * packed.stride;
  for (int64_t t = 0; t < tiles; ++t) {
    const Range part = tile_rows(chunk.size(), tiles, t);
    const int64_t from = (chunk.begin + part.begin) * args.input_stride;
    Element* const high = packed.plane[0] + t * Product::kRowTile * packed.stride;
    Element* const low = packed.plane[1] + t * Product::kRowTile * packed.stride;
    if (args.input_type == DataType::kS8) {
      Product::pack_rows(static_cast<const int8_t*>(args.input) + from, args.input_stride,
                         part.size(), args.k, high, low);
    } else {
      Product::pack_rows(static_cast<const int16_t*>(args.input) + from, args.input_stride,
                         part.size(), args.k, high, low);
    }
  }
  return packed;
}

template <class Product>
void run_tiles(const LinearArgs& args, Range rows, Range blocks, void* scratch) {
  const int64_t end = min(blocks.end * kLinearBlock, args.n);
  Operands<Product> operands;
  Sums sums[2];
  for (int64_t begin = rows.begin; begin < rows.end; begin += kLinearRowChunk) {
    const Range chunk{begin, min(begin + kLinearRowChunk, rows.end)};
    const int64_t tiles = ceil_div(chunk.size(), Product::kRowTile);
    const PackedRows<Product> packed = pack_chunk<Product>(args, chunk, tiles, scratch);
    operands.row_stride = packed.stride;
    // A single row waits for memory as it is; prefetching would only get in its way.
    operands.next_step = chunk.size() == 1 ? 0 : kGroupBytes / tiles;
    for (int64_t block = blocks.begin; block < blocks.end; ++block) {
      const Columns columns = load_columns<Product>(args, block * kLinearBlock, end);
      operands.block = Product::block(args, block);
      const int64_t groups = operands.block.groups;
      for (int64_t t = 0; t < tiles; ++t) {
        const Range part = tile_rows(chunk.size(), tiles, t);
        const auto multiply = multiply_rows<Product>(part.size());
        // The tiles share the prefetching of the next block out among them. After the last block
        // it runs on into whatever follows, often the next layer; it cannot fault.
        operands.next_weight =
            operands.block.weight + groups * (kGroupBytes + t * operands.next_step);
        operands.rows = packed.plane[0] + t * Product::kRowTile * packed.stride;
        multiply(operands, sums[0].value + part.begin);
        if (args.input_type == DataType::kS16) {
          operands.rows = packed.plane[1] + t * Product::kRowTile * packed.stride;
          multiply(operands, sums[1].value + part.begin);
        }
      }
      if (args.input_type == DataType::kS16) {
        combine_planes(columns, chunk.size(), args.pre_shift, sums[1], sums[0]);
      }
      finish(args, columns, chunk, sums[0]);
    }
  }
}

}  // namespace
}  // namespace pyqrt
