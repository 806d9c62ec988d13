// lookup, AVX-512: the table stays in vector registers. vpermi2w finds 32 numbers among 64 entries;
// eight of them, each under the mask of the numbers that belong to its 64 entries, find them among
// 512. The instruction overwrites the index, and only under its mask, so no results are merged.
#include "fixed/fixed_avx512.h"
#include "ops/lookup/lookup.h"

namespace pyqrt {
namespace {

constexpr int64_t kLanes = 32;
constexpr int kParts = 8;  // of 64 entries

// kVectors vectors of numbers; those of a tail have a mask.
template <int kVectors>
void step(const int16_t* table, const int16_t* input, int16_t* output, __mmask32 keep) {
  __m512i fraction[kVectors];
  __m512i part[kVectors];
  __m512i left[kVectors];   // the index of the interval, then the entry where it begins
  __m512i right[kVectors];  // likewise the entry where it ends
  for (int v = 0; v < kVectors; ++v) {
    const __m512i x = _mm512_maskz_loadu_epi16(keep, input + v * kLanes);
    const __m512i u = _mm512_xor_si512(x, _mm512_set1_epi16(INT16_MIN));
    fraction[v] = _mm512_and_si512(u, _mm512_set1_epi16(127));
    left[v] = right[v] = _mm512_srli_epi16(u, 7);
    part[v] = _mm512_srli_epi16(u, 13);
  }
  for (int p = 0; p < kParts; ++p) {
    const auto entries = [&](int first) { return _mm512_loadu_si512(table + 64 * p + first); };
    const __m512i begins[2] = {entries(0), entries(32)};
    const __m512i ends[2] = {entries(1), entries(33)};
    const __m512i number = _mm512_set1_epi16(static_cast<int16_t>(p));
    for (int v = 0; v < kVectors; ++v) {
      const __mmask32 mine = _mm512_cmpeq_epi16_mask(part[v], number);
      left[v] = _mm512_mask2_permutex2var_epi16(begins[0], left[v], mine, begins[1]);
      right[v] = _mm512_mask2_permutex2var_epi16(ends[0], right[v], mine, ends[1]);
    }
  }
  const __m512i one = _mm512_set1_epi16(128);
  const __m512i half = _mm512_set1_epi32(64);
  for (int v = 0; v < kVectors; ++v) {
    const __m512i rest = _mm512_sub_epi16(one, fraction[v]);
    // Unpacking and packing are both done within 128 bits and undo each other.
    const __m512i low = _mm512_dpwssd_epi32(half, _mm512_unpacklo_epi16(left[v], right[v]),
                                            _mm512_unpacklo_epi16(rest, fraction[v]));
    const __m512i high = _mm512_dpwssd_epi32(half, _mm512_unpackhi_epi16(left[v], right[v]),
                                             _mm512_unpackhi_epi16(rest, fraction[v]));
    _mm512_mask_storeu_epi16(
        output + v * kLanes, keep,
        _mm512_packs_epi32(_mm512_srai_epi32(low, 7), _mm512_srai_epi32(high, 7)));
  }
}

}  // namespace

void lookup_avx512vnni(const LookupArgs& args, Range rows) {
  constexpr __mmask32 kAll = ~__mmask32{0};
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int16_t* input = args.input + i * args.input_stride;
    int16_t* output = args.output + i * args.output_stride;
    int64_t j = 0;
    for (; j + 4 * kLanes <= args.width; j += 4 * kLanes) {
      step<4>(args.table, input + j, output + j, kAll);
    }
    for (; j + kLanes <= args.width; j += kLanes) step<1>(args.table, input + j, output + j, kAll);
    if (j < args.width) {
      step<1>(args.table, input + j, output + j, (__mmask32{1} << (args.width - j)) - 1);
    }
  }
}

}  // namespace pyqrt
