#include <immintrin.h>

#include "ops/linear/linear_paired.h"

namespace pyqrt {
namespace {

constexpr int64_t kGroupBytes = PairedWeight::kBytes / 2;  // of half a block
constexpr int64_t kSearch = 32;  // trained weights pair no better with more

struct Group {
  __m256i weight;
  __m256i sums;  // of the positive, and of minus the negative weights: 2 * 16 unsigned bytes
  int64_t place;
};

__m256i load(const int8_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
void store(int8_t* to, __m256i value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value);
}

__m256i zero() {
  return _mm256_setzero_si256();
}

bool is_zero(__m256i value) {
  return _mm256_testz_si256(value, value) != 0;
}

// What a + b has above 128, of unsigned bytes.
__m256i excess(__m256i a, __m256i b) {
  return _mm256_subs_epu8(_mm256_adds_epu8(a, b), _mm256_set1_epi8(-128));
}

// In each 16 bits the sum of two bytes' positive parts.
__m256i positive_sums(__m256i weight) {
  return _mm256_maddubs_epi16(_mm256_set1_epi8(1), _mm256_max_epi8(weight, zero()));
}

Group make_group(__m256i weight, int64_t place) {
  const __m256i minus = _mm256_sub_epi8(zero(), weight);
  return {weight, _mm256_packus_epi16(positive_sums(weight), positive_sums(minus)), place};
}

// All ones in each 16 bits of weights where one of the two bytes of sums is not zero.
__m256i lanes_of(__m256i sums) {
  const __m256i is_in_range = _mm256_cmpeq_epi8(sums, zero());
  const __m256i both = _mm256_and_si256(_mm256_unpacklo_epi8(is_in_range, is_in_range),
                                        _mm256_unpackhi_epi8(is_in_range, is_in_range));
  return _mm256_xor_si256(both, _mm256_set1_epi8(-1));
}

// The groups of half a block, on their way into pairs.
class Pairing {
 public:
  Pairing(Group* waiting, int8_t* pairs, uint16_t* places)
      : waiting_(waiting), pairs_(pairs), places_(places) {}

  void add_group(__m256i weight, int64_t g) {
    if (is_zero(weight)) return;
    Group group = make_group(weight, paired_place(g, 0));
    const __m256i above = excess(group.sums, zero());
    if (!is_zero(above)) {
      const __m256i order = _mm256_broadcastsi128_si256(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(kPairedOrder)));
      const Group other = make_group(_mm256_shuffle_epi8(weight, order), paired_place(g, 1));
      if (is_zero(excess(other.sums, zero()))) {
        group = other;
      } else {
        // The second weight of each sum out of range.
        move_weights(group, _mm256_slli_epi16(lanes_of(above), 8));
      }
    }
    add(group);
  }

  // Pairs what is left; returns how many pairs there are.
  int64_t finish() {
    while (waiting_count_ > 1) {
      Group last = take(waiting_count_ - 1);
      const Group other = take(waiting_count_ - 1);
      move_weights(last, lanes_of(excess(last.sums, other.sums)));
      emit(other, last);
    }
    if (waiting_count_ == 1) {
      const Group last = take(0);
      emit(last, make_group(zero(), last.place));
    }
    return count_;
  }

 private:
  // Moves what `mask` covers from the group to one of its own.
  void move_weights(Group& group, __m256i mask) {
    const __m256i moved = _mm256_and_si256(group.weight, mask);
    if (is_zero(moved)) return;
    group = make_group(_mm256_andnot_si256(mask, group.weight), group.place);
    add(make_group(moved, group.place));
  }

  // Pairs the group with one of the last that wait, or lets it wait.
  void add(const Group& group) {
    for (int64_t i = waiting_count_ - 1; i >= 0 && i >= waiting_count_ - kSearch; --i) {
      if (is_zero(excess(waiting_[i].sums, group.sums))) return emit(take(i), group);
    }
    waiting_[waiting_count_++] = group;
  }

  Group take(int64_t i) {
    const Group group = waiting_[i];
    waiting_[i] = waiting_[--waiting_count_];
    return group;
  }

  void emit(const Group& a, const Group& b) {
    store(pairs_ + count_ * PairedWeight::kBytes, a.weight);
    store(pairs_ + count_ * PairedWeight::kBytes + kGroupBytes, b.weight);
    places_[2 * count_] = static_cast<uint16_t>(a.place);
    places_[2 * count_ + 1] = static_cast<uint16_t>(b.place);
    ++count_;
  }

  Group* const waiting_;
  int64_t waiting_count_ = 0;
  int8_t* const pairs_;
  uint16_t* const places_;
  int64_t count_ = 0;
};

}  // namespace

int64_t pair_half_avx2(const int8_t* weight, int64_t groups, int8_t* pairs, uint16_t* places,
                       void* scratch) {
  static_assert(paired_scratch_bytes(1) == 2 * sizeof(Group));
  Pairing pairing(static_cast<Group*>(scratch), pairs, places);
  for (int64_t g = 0; g < groups; ++g) pairing.add_group(load(weight + g * 2 * kGroupBytes), g);
  return pairing.finish();
}

}  // namespace pyqrt
