// attention: fused multi-head scaled dot-product attention over packed sequences (ATT14).
//
// Reals:     context = softmax(q k^T / sqrt(d)) v, per head, every token of a sequence seeing
//            every token of the same sequence and no other.
//
// Integers, per sequence and head h (d = head_dim, n = length of the sequence):
//   S_ij = sum_c q[i,c] * k[j,c]                                 int32, exact
//        + sum_c q[i,c] * relative_key[t,c] + sum_c k[j,c] * relative_query[t,c]
//        + relative_bias[h,t],   t = relative_index[clamp(i - j, -R, R) + R]
//     the last three terms each only if its table is there: relative positions, as a bias on the
//     scores (Raffel et al. 2020, arXiv 1910.10683) or disentangled (He et al. 2021, arXiv
//     2006.03654)
//   P, L = softmax of row i with multiplier score_multiplier[h] and `exponential` (softmax.h)
//   A_ic = sum_j P_ij * v[j,c] = 128 * sum_j high_ij v[j,c] + sum_j low_ij v[j,c]     exact
//   b = bit_length(L_i);  e = max(0, b - 24)
//   L' = b >= 16 ? L_i >> (b - 16) : L_i << (16 - b);  rho = (2^32 - 1) / L'      (floor)
//   out_ic = sat8( rshr64((A_ic >> e) * (rho * output_multiplier[h]),
//                         b + 30 - output_exponent[h] - e) + zero_point )
// With a window w (not negative) token i sees the tokens j with |i - j| <= w only: maximum, L and A
// run over these; with global_key over the sequence's global tokens too, however far (Beltagy et
// al. 2020, arXiv 2004.05150). Those are its first token; or with `until` all before the first
// token of that id, all n if there is none; or with `after` all from the second behind the first
// token of that id on. With global_query only they have queries and rows of output that are
// written; without `until` and `after` q_0 is row s of `query`, [sequences, heads * d].
//
// With a block B and n > block_beyond, tokens see blocks of B (Zaheer et al. 2020, arXiv
// 2007.14062): those of the first and the last block see all; those of block b see the first,
// b - 1, b, b + 1 and the last, and block_bias[h] is added to their scores with keys of the first.
//
// scale_v / scale_out = output_multiplier * 2^(output_exponent - 14).
// q, k, v are symmetric (no zero point); a constant vector added to every key changes nothing,
// and one added to every value passes through, so both may be centred by the file's biases.
// Whole rows, two passes: bytes do not depend on tiling, batch, neighbours or threads.
//
// Ranges: q, k, v in [-127, 127]; d in [1, 1024]; n in [0, 65536]; 127 * 127 * d < 2^24;
//   |relative_bias| and |block_bias| < 2^28, so |S| < 2^30
//   R in [0, 65536], t in [0, relative_rows), at most 65536
//   |A| <= 127 * L < 2^38, |A >> e| < 2^31, rho * output_multiplier < 2^31: the product fits int64
//   output_multiplier in [2^13, 2^14), output_exponent in [-8, 16], zero_point in [-127, 127]
//
// query, key, value: [tokens, heads * d] each with its stride (they may be column ranges of one
// buffer); head h owns columns [h d, h d + d). output likewise, aliasing none of them.
// offsets: [sequences + 1] ascending token positions; sequence s is [offsets[s], offsets[s+1]).
// Nothing outside those rows and columns is read or written. Empty sequences write nothing.
#pragma once

#include <array>

#include "base/dispatch.h"
#include "base/types.h"
#include "fixed/fixed.h"

namespace pyqrt {

struct AttentionArgs {
  const int8_t* query = nullptr;
  const int8_t* key = nullptr;
  const int8_t* value = nullptr;
  int64_t query_stride = 0;
  int64_t key_stride = 0;
  int64_t value_stride = 0;
  const int32_t* offsets = nullptr;

  int64_t heads = 0;
  int64_t head_dim = 0;
  const uint32_t* score_multiplier = nullptr;  // [heads]
  const int32_t* output_multiplier = nullptr;  // [heads]
  const int32_t* output_exponent = nullptr;    // [heads]
  int32_t zero_point = 0;
  fixed::ExpPolynomial exponential = fixed::kExpMinimax;

  int64_t window = -1;           // negative: none
  bool global_key = false;       // global tokens are seen by all of their sequence
  bool global_query = false;     // only they have queries
  const int32_t* ids = nullptr;  // [tokens], for `until` and `after`
  int32_t until = -1;            // negative: not so; at most one of the two is not
  int32_t after = -1;
  int64_t block = 0;  // 0: none; only without window and global tokens
  int64_t block_beyond = 0;
  const int32_t* block_bias = nullptr;      // [heads], with a block
  const int32_t* relative_index = nullptr;  // [2 R + 1]; null: no relative terms
  int64_t relative_reach = 0;               // R
  int64_t relative_rows = 0;
  const int32_t* relative_bias = nullptr;  // [heads, relative_rows] or null
  const int8_t* relative_key = nullptr;    // [relative_rows, heads * d], dense, or null
  const int8_t* relative_query = nullptr;  // the same

  int8_t* output = nullptr;
  int64_t output_stride = 0;
};

inline constexpr int64_t kAttentionMaxHeadDim = 1024;
inline constexpr int kAttentionMinExponent = -8;  // keeps the last shift within [28, 62]
inline constexpr int kAttentionMaxExponent = 16;
inline constexpr int64_t kAttentionQueryTile = 16;  // query rows whose scores live in L1 together

// Scratch memory a call needs, in bytes, 64-byte aligned, one per thread: keys and values of one
// head repacked (up to two bytes an element), one query tile of rows of scores and planes. Relative
// terms (relative_rows > 0): table rows and biases by distance, the relative keys repacked, their
// products with a query tile, the relative queries' with all keys.
constexpr std::size_t attention_scratch_bytes(int64_t max_length, int64_t head_dim,
                                              int64_t relative_rows = 0) {
  const int64_t length = round_up(max_length, 64);
  const int64_t dim = round_up(head_dim, 64);
  const int64_t rows = round_up(relative_rows, 64);
  const int64_t relative =
      rows == 0 ? 0 : 16 * length + 2 * rows * dim + 4 * rows * (kAttentionQueryTile + length);
  return static_cast<std::size_t>(4 * length * dim +  // K and V
                                  kAttentionQueryTile * (length * 6 + dim * 16) + 4096 + relative);
}

// An item is a (sequence, head) pair: item = sequence * heads + head. Computes the given items.
// Every sequence is at most `max_length` tokens long, the figure scratch was sized with.
using AttentionKernel = void(const AttentionArgs& args, Range items, int64_t max_length,
                             void* scratch);

#define PYQRT_KERNEL(name, isa) AttentionKernel attention_##name;
#include "ops/attention/kernels.inc"
#undef PYQRT_KERNEL

inline constexpr std::array kAttentionKernels{
#define PYQRT_KERNEL(name, isa) Kernel<AttentionKernel>{Isa::isa, attention_##name},
#include "ops/attention/kernels.inc"
#undef PYQRT_KERNEL
};

}  // namespace pyqrt
