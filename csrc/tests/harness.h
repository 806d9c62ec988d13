// What the C++ tests of the ops share: memory with awkward strides and guarded surroundings, data
// with many extremes, and one call that runs every variant of an op and compares it with the
// reference, byte for byte.
//
// These tests are for machines that pytest does not reach: they need no Python and run under an
// emulator. What the reference itself computes, tests/ops compares with the oracle.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/dispatch.h"

namespace pyqrt::test {

// The same cases each time.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}

  int64_t integer(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return *(values.begin() + integer(0, static_cast<int64_t>(values.size()) - 1));
  }
  // Widths just below, at and above one and two vectors or tiles of every instruction set.
  int64_t width() {
    return one_of<int64_t>(
        {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 20, 24, 31, 32, 33, 48, 49, 64, 65, 100});
  }

 private:
  std::mt19937_64 engine_;
};

// How the numbers of an array are drawn: evenly, only the two limits, or small ones around zero.
enum class Draw { kEven, kLimits, kSmall };
inline Draw any_draw(Random& random) {
  return random.one_of({Draw::kEven, Draw::kEven, Draw::kLimits, Draw::kSmall});
}
inline int64_t draw(Random& random, Draw how, int64_t low, int64_t high) {
  switch (how) {
    case Draw::kEven:
      return random.integer(low, high);
    case Draw::kLimits:
      return random.one_of({low, high});
    case Draw::kSmall:
      break;
  }
  return random.integer(std::max<int64_t>(low, -2), std::min<int64_t>(high, 2));
}

template <class T>
std::vector<T> vector_of(Random& random, int64_t count, int64_t low, int64_t high,
                         Draw how = Draw::kEven) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& value : values) value = static_cast<T>(draw(random, how, low, high));
  return values;
}

// Memory that ends where a page begins that nobody may touch.
class GuardedMemory {
 public:
  explicit GuardedMemory(std::size_t bytes) : bytes_(bytes) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = (bytes + page - 1) / page * page + page;
    base_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) throw Error("mmap refuses memory to the tests");
    end_ = static_cast<uint8_t*>(base_) + mapped_ - page;
    if (mprotect(end_, page, PROT_NONE) != 0) throw Error("mprotect refuses a guard page");
  }
  ~GuardedMemory() {
    if (base_ != nullptr) munmap(base_, mapped_);
  }
  GuardedMemory(GuardedMemory&& other) noexcept
      : bytes_(other.bytes_), mapped_(other.mapped_), end_(other.end_) {
    base_ = std::exchange(other.base_, nullptr);
  }
  GuardedMemory& operator=(GuardedMemory&&) = delete;

  uint8_t* begin() const { return end_ - bytes_; }
  uint8_t* end() const { return end_; }

 private:
  std::size_t bytes_;
  std::size_t mapped_ = 0;
  void* base_ = nullptr;
  uint8_t* end_ = nullptr;
};

// [rows, width] off any alignment, each row between `margin` elements of the type's extremes: a
// read of them changes results, a write is seen. After the last number nothing can be read at all.
template <class T>
class Matrix {
 public:
  Matrix(int64_t rows, int64_t width, int64_t margin)
      : stride_(width + 2 * margin),
        first_(stride_ + margin),
        memory_(static_cast<std::size_t>(rows * stride_ + first_ - 2 * margin) * sizeof(T)) {
    T* const end = reinterpret_cast<T*>(memory_.end());
    for (T* at = reinterpret_cast<T*>(memory_.begin()); at < end; ++at) {
      *at = (end - at) % 2 == 0 ? std::numeric_limits<T>::min() : std::numeric_limits<T>::max();
    }
  }
  static Matrix random(Random& random, int64_t rows, int64_t width, int64_t low, int64_t high,
                       Draw how) {
    Matrix matrix(rows, width, random.integer(0, 9));
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < width; ++j) {
        matrix.data()[i * matrix.stride_ + j] = static_cast<T>(draw(random, how, low, high));
      }
    }
    return matrix;
  }

  T* data() { return reinterpret_cast<T*>(memory_.begin()) + first_; }
  const T* data() const { return reinterpret_cast<const T*>(memory_.begin()) + first_; }
  int64_t stride() const { return stride_; }
  const GuardedMemory& memory() const { return memory_; }

 private:
  int64_t stride_;
  int64_t first_;
  GuardedMemory memory_;
};

// Scratch memory as a plan gives it: aligned, exactly as large as the contract says, and dirty.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes)
      : bytes_(bytes),
        memory_(
            static_cast<uint8_t*>(::operator new(bytes + kGuard, std::align_val_t{kAlignment}))) {
    std::memset(memory_, kDirt, bytes + kGuard);
  }
  ~Scratch() { ::operator delete(memory_, std::align_val_t{kAlignment}); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  void* get() const { return memory_; }
  bool overrun() const {
    for (std::size_t i = bytes_; i < bytes_ + kGuard; ++i) {
      if (memory_[i] != kDirt) return true;
    }
    return false;
  }

 private:
  static constexpr std::size_t kGuard = 256;
  static constexpr uint8_t kDirt = 0xa5;
  std::size_t bytes_;
  uint8_t* memory_;
};

// Which variants can run, which did, and what went wrong. Defined in main.cc.
bool can_run(Isa isa);
void note_case(const std::string& op, Isa isa);
void note_failure(const std::string& op, Isa isa, const std::string& what);

inline void append_bytes(std::vector<uint8_t>& bytes, const GuardedMemory& memory) {
  const auto more = static_cast<std::size_t>(memory.end() - memory.begin());
  bytes.resize(bytes.size() + more);
  std::memcpy(bytes.data() + bytes.size() - more, memory.begin(), more);
}

// run(function) -> every byte that the kernel could have written, the surroundings included. Runs
// each variant that can run and compares it with the reference.
template <class Function, std::size_t kCount, class Run>
void check_variants(const std::string& op, const std::array<Kernel<Function>, kCount>& list,
                    const std::string& the_case, const Run& run) {
  const std::vector<uint8_t> expected = run(*list.back().run);
  for (const auto& kernel : list) {
    if (!can_run(kernel.isa)) continue;
    note_case(op, kernel.isa);
    const std::vector<uint8_t> actual = run(*kernel.run);
    if (actual != expected) {
      std::size_t at = 0;
      while (actual[at] == expected[at]) ++at;
      note_failure(op, kernel.isa,
                   the_case + ": byte " + std::to_string(at) + " is " + std::to_string(actual[at]) +
                       ", the reference's is " + std::to_string(expected[at]));
    }
  }
}

// "m 3, k 7": what a failing case was.
inline std::string describe(std::initializer_list<std::pair<const char*, int64_t>> parts) {
  std::string text;
  for (const auto& [name, value] : parts) {
    text += (text.empty() ? "" : ", ") + std::string(name) + " " + std::to_string(value);
  }
  return text;
}

// The ops' tests, each in its file. `cases` is how many to draw.
void test_attention(int cases);
void test_embedding(int cases);
void test_gelu(int cases);
void test_layernorm(int cases);
void test_linear(int cases);
void test_lookup(int cases);
void test_match(int cases);
void test_multiply(int cases);
void test_neighbours(int cases);
void test_normalize(int cases);
void test_pool(int cases);
void test_rotary(int cases);
void test_softmax(int cases);

}  // namespace pyqrt::test
