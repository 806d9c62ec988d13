#include <algorithm>
#include <limits>

#include "fixed/fixed_avx512.h"
#include "ops/softmax/softmax.h"

namespace pyqrt {
namespace {

constexpr int64_t kBlock = 64;  // scores of one step: a whole vector of each plane
constexpr int64_t kUnit = 16;   // scores of one vector
constexpr int kGroup = 4;       // rows whose sums, and if short whose maxima, are folded together
constexpr int64_t kShort = 128;

__mmask16 mask_of(int64_t count) {
  return static_cast<__mmask16>((1u << std::clamp<int64_t>(count, 0, kUnit)) - 1);
}

// Folds four vectors, one per row, to one number per row: those four stand in every 128 bits.
template <class Combine>
__m512i fold(const __m512i (&row)[kGroup], const Combine& combine) {
  const __m512i r01 =
      combine(_mm512_unpacklo_epi32(row[0], row[1]), _mm512_unpackhi_epi32(row[0], row[1]));
  const __m512i r23 =
      combine(_mm512_unpacklo_epi32(row[2], row[3]), _mm512_unpackhi_epi32(row[2], row[3]));
  __m512i all = combine(_mm512_unpacklo_epi64(r01, r23), _mm512_unpackhi_epi64(r01, r23));
  all = combine(all, _mm512_shuffle_i64x2(all, all, _MM_SHUFFLE(1, 0, 3, 2)));
  return combine(all, _mm512_shuffle_i64x2(all, all, _MM_SHUFFLE(2, 3, 0, 1)));
}

// 64 scores and, for every 16 of them, the maximum of their row.
struct Scores {
  __m512i lane[4];
  __m512i maximum[4];
};

struct Planes {
  __m512i high;
  __m512i low;
};

// What turns scores into planes: the multiplier of the call and its limit, the polynomial.
class Exponential {
 public:
  explicit Exponential(const SoftmaxArgs& args)
      : limit_(_mm512_set1_epi32(static_cast<int32_t>(softmax_limit(args.multiplier)))),
        multiplier_(_mm512_set1_epi32(static_cast<int32_t>(args.multiplier))),
        exp2_neg_(args.exponential) {}

  Planes planes(const Scores& s) const {
    const __m512i first = probability(s, 0);
    const __m512i second = probability(s, 2);
    const __m512i seven_bits = _mm512_set1_epi16(127);
    return {bytes(_mm512_srli_epi16(first, 7), _mm512_srli_epi16(second, 7)),
            bytes(_mm512_and_si512(first, seven_bits), _mm512_and_si512(second, seven_bits))};
  }

 private:
  // 2 x 16 scores -> 32 probabilities in order. The exponent is the high half of each product.
  __m512i probability(const Scores& s, int i) const {
    const auto product = [&](int k) {
      const __m512i below = _mm512_min_epu32(_mm512_sub_epi32(s.maximum[k], s.lane[k]), limit_);
      return _mm512_mullo_epi32(below, multiplier_);
    };
    const __m512i high_halves =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return exp2_neg_(_mm512_permutex2var_epi16(product(i), high_halves, product(i + 1)));
  }

  // 2 x 32 numbers below 256 -> 64 bytes in order.
  static __m512i bytes(__m512i first, __m512i second) {
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    return _mm512_maskz_permutexvar_epi64(0xff, order, _mm512_packus_epi16(first, second));
  }

  __m512i limit_;
  __m512i multiplier_;
  avx512::Exp2Neg exp2_neg_;
};

__m512i weights_of(const Planes& p) {
  const __m512i one = _mm512_set1_epi8(1);
  const __m512i high = _mm512_dpbusd_epi32(_mm512_setzero_si512(), p.high, one);
  return _mm512_dpbusd_epi32(_mm512_slli_epi32(high, 7), p.low, one);
}

// Four rows, of which those beyond the last repeat it.
class Group {
 public:
  Group(const SoftmaxArgs& args, const Exponential& exponential, Range rows)
      : n_(args.n), exponential_(exponential) {
    for (int k = 0; k < kGroup; ++k) {
      const int64_t row = std::min(rows.begin + k, rows.end - 1);
      score_[k] = args.score + row * args.score_stride;
      high_[k] = args.high + row * args.plane_stride;
      low_[k] = args.low + row * args.plane_stride;
    }
  }

  // Writes the planes of `count` rows and returns what their scores add up to, absent ones
  // included.
  __m128i run(int count) {
    for (auto& sum : sum_) sum = _mm512_setzero_si512();
    if (n_ <= kShort) {
      find_maxima();
      for (int k = 0; k < count; ++k) write_blocks(k);
    } else {
      maximum_[0] = row_maximum(0);
      for (int k = 0; k < count; ++k) {
        // The next row is loaded while the planes of this one keep the arithmetic busy.
        if (k + 1 < count) maximum_[k + 1] = row_maximum(k + 1);
        write_blocks(k);
      }
      for (int k = count; k < kGroup; ++k) maximum_[k] = maximum_[count - 1];
    }
    const int64_t rest = n_ % kBlock;
    if (rest > 2 * kUnit) {
      write_rest<1>(count);
    } else if (rest > kUnit) {
      write_rest<2>(count);
    } else if (rest > 0) {
      write_rest<4>(count);
    }
    const auto add = [](__m512i a, __m512i b) { return _mm512_add_epi32(a, b); };
    return _mm512_castsi512_si128(fold(sum_, add));
  }

 private:
  // First pass, all rows of the group.
  void find_maxima() {
    __m512i most[kGroup];
    const __m512i least = _mm512_set1_epi32(std::numeric_limits<int32_t>::min());
    for (auto& row : most) row = least;
    int64_t j = 0;
    for (; j + kUnit <= n_; j += kUnit) {
      for (int k = 0; k < kGroup; ++k) {
        most[k] = _mm512_max_epi32(most[k], _mm512_loadu_si512(score_[k] + j));
      }
    }
    if (j < n_) {
      const __mmask16 keep = mask_of(n_ - j);
      for (int k = 0; k < kGroup; ++k) {
        most[k] = _mm512_mask_max_epi32(most[k], keep, most[k],
                                        _mm512_maskz_loadu_epi32(keep, score_[k] + j));
      }
    }
    const __m512i all = fold(most, [](__m512i a, __m512i b) { return _mm512_max_epi32(a, b); });
    maximum_[0] = _mm512_shuffle_epi32(all, _MM_PERM_AAAA);
    maximum_[1] = _mm512_shuffle_epi32(all, _MM_PERM_BBBB);
    maximum_[2] = _mm512_shuffle_epi32(all, _MM_PERM_CCCC);
    maximum_[3] = _mm512_shuffle_epi32(all, _MM_PERM_DDDD);
  }

  // First pass, one row.
  __m512i row_maximum(int k) const {
    __m512i most[4];
    for (auto& lane : most) lane = _mm512_set1_epi32(std::numeric_limits<int32_t>::min());
    int64_t j = 0;
    for (; j + kBlock <= n_; j += kBlock) {
      for (int i = 0; i < 4; ++i) {
        most[i] = _mm512_max_epi32(most[i], _mm512_loadu_si512(score_[k] + j + i * kUnit));
      }
    }
    for (int i = 0; i < 4; ++i) {
      const __mmask16 keep = mask_of(n_ - j - i * kUnit);
      most[i] = _mm512_mask_max_epi32(most[i], keep, most[i],
                                      _mm512_maskz_loadu_epi32(keep, score_[k] + j + i * kUnit));
    }
    const __m512i left = _mm512_max_epi32(most[0], most[1]);
    const __m512i right = _mm512_max_epi32(most[2], most[3]);
    return _mm512_set1_epi32(_mm512_reduce_max_epi32(_mm512_max_epi32(left, right)));
  }

  // Second pass: whole blocks of one row.
  void write_blocks(int k) {
    const __m512i one = _mm512_set1_epi8(1);
    __m512i high_sum = _mm512_setzero_si512();
    __m512i low_sum = high_sum;
    // Copies, so that they stay in registers.
    const Exponential exponential = exponential_;
    const int32_t* score = score_[k];
    uint8_t* high = high_[k];
    uint8_t* low = low_[k];
    Scores s;
    for (auto& maximum : s.maximum) maximum = maximum_[k];
    for (int64_t j = 0; j + kBlock <= n_; j += kBlock) {
      for (int i = 0; i < 4; ++i) s.lane[i] = _mm512_loadu_si512(score + j + i * kUnit);
      const Planes p = exponential.planes(s);
      high_sum = _mm512_dpbusd_epi32(high_sum, p.high, one);
      low_sum = _mm512_dpbusd_epi32(low_sum, p.low, one);
      _mm512_storeu_si512(high + j, p.high);
      _mm512_storeu_si512(low + j, p.low);
    }
    sum_[k] = _mm512_add_epi32(_mm512_slli_epi32(high_sum, 7), low_sum);
  }

  // The rest of a row takes 64 / kRows scores of a step, which kRows rows share.
  template <int kRows>
  void write_rest(int count) {
    constexpr int kUnits = 4 / kRows;
    const int64_t j = n_ / kBlock * kBlock;
    const int64_t rest = n_ - j;
    for (int k = 0; k < count; k += kRows) {
      Scores s;
      for (int i = 0; i < 4; ++i) {
        const int row = k + i / kUnits;
        const int64_t unit = i % kUnits * kUnit;
        s.maximum[i] = maximum_[row];
        // Absent scores stand at the maximum: what they add to the sum is known.
        s.lane[i] =
            _mm512_mask_loadu_epi32(maximum_[row], mask_of(rest - unit), score_[row] + j + unit);
      }
      const Planes p = exponential_.planes(s);
      const __m512i weights = weights_of(p);
      for (int row = 0; row < kRows; ++row) {
        const auto mine = static_cast<__mmask16>(((1 << 4 * kUnits) - 1) << (4 * kUnits * row));
        sum_[k + row] = _mm512_mask_add_epi32(sum_[k + row], mine, sum_[k + row], weights);
      }
      store<kRows>(p.high, high_ + k, j, rest);
      store<kRows>(p.low, low_ + k, j, rest);
    }
  }

  template <int kRows>
  static void store(__m512i bytes, uint8_t* const* plane, int64_t j, int64_t rest) {
    if constexpr (kRows == 1) {
      _mm512_mask_storeu_epi8(plane[0] + j, (uint64_t{1} << rest) - 1, bytes);
    } else if constexpr (kRows == 2) {
      const auto keep = static_cast<__mmask32>((uint64_t{1} << rest) - 1);
      _mm256_mask_storeu_epi8(plane[0] + j, keep, _mm512_castsi512_si256(bytes));
      _mm256_mask_storeu_epi8(plane[1] + j, keep, _mm512_extracti64x4_epi64(bytes, 1));
    } else {
      const __mmask16 keep = mask_of(rest);
      _mm_mask_storeu_epi8(plane[0] + j, keep, _mm512_castsi512_si128(bytes));
      _mm_mask_storeu_epi8(plane[1] + j, keep, _mm512_extracti32x4_epi32(bytes, 1));
      _mm_mask_storeu_epi8(plane[2] + j, keep, _mm512_extracti32x4_epi32(bytes, 2));
      _mm_mask_storeu_epi8(plane[3] + j, keep, _mm512_extracti32x4_epi32(bytes, 3));
    }
  }

  int64_t n_;
  const Exponential& exponential_;
  const int32_t* score_[kGroup];
  uint8_t* high_[kGroup];
  uint8_t* low_[kGroup];
  __m512i maximum_[kGroup];
  __m512i sum_[kGroup];
};

// What the absent scores of the last step add to a row's sum.
int32_t surplus_of(const SoftmaxArgs& args) {
  const int64_t rest = args.n % kBlock;
  const int64_t step = rest > 2 * kUnit ? kBlock : rest > kUnit ? 2 * kUnit : rest > 0 ? kUnit : 0;
  return static_cast<int32_t>(step - rest) * fixed::exp2_neg(0, args.exponential);
}

}  // namespace

void softmax_avx512vnni(const SoftmaxArgs& args, Range rows) {
  const Exponential exponential(args);
  const __m128i surplus = _mm_set1_epi32(surplus_of(args));
  for (int64_t i = rows.begin; i < rows.end; i += kGroup) {
    const int count = static_cast<int>(std::min<int64_t>(kGroup, rows.end - i));
    const __m128i sums = Group(args, exponential, {i, rows.end}).run(count);
    _mm_mask_storeu_epi32(args.sum + i, mask_of(count), _mm_sub_epi32(sums, surplus));
  }
}

}  // namespace pyqrt
