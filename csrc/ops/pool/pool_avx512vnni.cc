// pool, AVX-512: sums of 64 columns in registers, then one multiplication for each mean.
#include "fixed/fixed_avx512.h"
#include "ops/pool/pool_mean.h"

namespace pyqrt {
namespace {

constexpr int kVectors = 4;
constexpr int64_t kColumns = 16 * kVectors;

void mean(const PoolArgs& args, int64_t sequence) {
  const int64_t tokens = args.offsets[sequence + 1] - args.offsets[sequence];
  const int16_t* input = args.input + args.offsets[sequence] * args.input_stride;
  int16_t* output = args.output + sequence * args.output_stride;
  const RoundedMean rounded_mean(tokens);
  for (int64_t c = 0; c < args.width; c += kColumns) {
    const int64_t columns = args.width - c < kColumns ? args.width - c : kColumns;
    const uint64_t wanted = ~uint64_t{0} >> (kColumns - columns);
    __m512i sum[kVectors];
    for (__m512i& v : sum) v = _mm512_set1_epi32(static_cast<int32_t>(rounded_mean.start()));
    for (int64_t i = 0; i < tokens; ++i) {
      const int16_t* row = input + i * args.input_stride + c;
      for (int v = 0; v < kVectors; ++v) {
        const __mmask16 mask = static_cast<__mmask16>(wanted >> (16 * v));
        const __m256i x = _mm256_maskz_loadu_epi16(mask, row + 16 * v);
        sum[v] = _mm512_add_epi32(sum[v], _mm512_cvtepi16_epi32(x));
      }
    }
    alignas(64) uint32_t lanes[kColumns];
    for (int v = 0; v < kVectors; ++v) _mm512_store_si512(lanes + 16 * v, sum[v]);
    for (int64_t j = 0; j < columns; ++j) output[c + j] = rounded_mean(lanes[j]);
  }
}

}  // namespace

void pool_avx512vnni(const PoolArgs& args, Range sequences) {
  for (int64_t s = sequences.begin; s < sequences.end; ++s) {
    if (!pool_without_mean(args, s)) mean(args, s);
  }
}

}  // namespace pyqrt
