// The vocabulary every room shares: element types, half-open ranges, the error type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace pyqrt {

// What a caller can mend: a bad argument, a hostile file, an unknown variant. The message names
// the input, the limit and the remedy. Bindings turn it into Python's pyqrt.ModelError.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class DataType : uint8_t { kS8, kS16, kS32 };

constexpr std::size_t size_of(DataType type) {
  return type == DataType::kS8 ? 1 : type == DataType::kS16 ? 2 : 4;
}

// Half-open interval of work items: rows, column blocks, (sequence, head) pairs.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

// The place of the first of `count` numbers that is `wanted`; `count` if none is.
constexpr int64_t place_of(int32_t wanted, const int32_t* numbers, int64_t count) {
  int64_t place = 0;
  while (place < count && numbers[place] != wanted) ++place;
  return place;
}

// Every tensor of a model file and every buffer of an arena starts on a cache line.
inline constexpr std::size_t kAlignment = 64;

}  // namespace pyqrt
