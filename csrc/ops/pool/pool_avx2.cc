// pool, AVX2: sums of 32 columns in registers, then one multiplication for each mean.
#include "fixed/fixed_avx2.h"
#include "ops/pool/pool_mean.h"

namespace pyqrt {
namespace {

constexpr int kVectors = 4;
constexpr int64_t kColumns = 8 * kVectors;

void mean(const PoolArgs& args, int64_t sequence) {
  const int64_t tokens = args.offsets[sequence + 1] - args.offsets[sequence];
  const int16_t* input = args.input + args.offsets[sequence] * args.input_stride;
  int16_t* output = args.output + sequence * args.output_stride;
  const RoundedMean rounded_mean(tokens);
  int64_t c = 0;
  for (; c + kColumns <= args.width; c += kColumns) {
    __m256i sum[kVectors];
    for (__m256i& v : sum) v = _mm256_set1_epi32(static_cast<int32_t>(rounded_mean.start()));
    for (int64_t i = 0; i < tokens; ++i) {
      const int16_t* row = input + i * args.input_stride + c;
      for (int v = 0; v < kVectors; ++v) {
        const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 8 * v));
        sum[v] = _mm256_add_epi32(sum[v], _mm256_cvtepi16_epi32(x));
      }
    }
    alignas(32) uint32_t lanes[kColumns];
    for (int v = 0; v < kVectors; ++v) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(lanes + 8 * v), sum[v]);
    }
    for (int64_t j = 0; j < kColumns; ++j) output[c + j] = rounded_mean(lanes[j]);
  }
  for (; c < args.width; ++c) {
    uint32_t sum = rounded_mean.start();
    for (int64_t i = 0; i < tokens; ++i) {
      sum += static_cast<uint32_t>(input[i * args.input_stride + c]);
    }
    output[c] = rounded_mean(sum);
  }
}

}  // namespace

void pool_avx2(const PoolArgs& args, Range sequences) {
  for (int64_t s = sequences.begin; s < sequences.end; ++s) {
    if (!pool_without_mean(args, s)) mean(args, s);
  }
}

}  // namespace pyqrt
