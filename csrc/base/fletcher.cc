#include "base/fletcher.h"

#include <cstddef>
#include <cstring>

namespace pyqrt {
namespace {

constexpr int kLanes = 4;

using Sums = std::array<uint64_t, 4>;

// The sums of four interleaved streams to those of the whole one, of which stream l has the words
// l, l + 4, ...
//
// A word with n words of its stream from itself to the end counts binomial(n + k - 1, k) times in
// sum k of the stream. In the whole there are 4 n - l words from it to the end; binomial(4 n - l +
// k - 1, k) written in those of n gives the factors.
Sums merged(const uint64_t (&a)[kLanes], const uint64_t (&b)[kLanes], const uint64_t (&c)[kLanes],
            const uint64_t (&d)[kLanes]) {
  Sums whole{};
  for (uint64_t l = 0; l < kLanes; ++l) {
    whole[0] += a[l];
    whole[1] += 4 * b[l] - l * a[l];
    whole[2] += 16 * c[l] - (6 + 4 * l) * b[l] + l * (l - 1) / 2 * a[l];
    whole[3] +=
        64 * d[l] - (48 + 16 * l) * c[l] + (4 + 4 * l + 2 * l * l) * b[l] - (l == 3 ? a[l] : 0);
  }
  return whole;
}

}  // namespace

std::array<uint64_t, 4> fletcher4(const void* data, int64_t bytes) {
  const auto* position = static_cast<const unsigned char*>(data);
  const unsigned char* const end = position + bytes;
  // Streams for a compiler to make vectors of, instead of one chain of additions.
  uint64_t a[kLanes] = {}, b[kLanes] = {}, c[kLanes] = {}, d[kLanes] = {};
  for (; end - position >= 4 * kLanes; position += 4 * kLanes) {
    uint32_t words[kLanes];
    std::memcpy(words, position, sizeof words);
    for (int l = 0; l < kLanes; ++l) a[l] += words[l];
    for (int l = 0; l < kLanes; ++l) b[l] += a[l];
    for (int l = 0; l < kLanes; ++l) c[l] += b[l];
    for (int l = 0; l < kLanes; ++l) d[l] += c[l];
  }
  Sums sums = merged(a, b, c, d);
  for (; position != end; position += 4) {
    uint32_t word;
    std::memcpy(&word, position, sizeof word);
    sums[0] += word;
    for (std::size_t k = 1; k < 4; ++k) sums[k] += sums[k - 1];
  }
  return sums;
}

}  // namespace pyqrt
