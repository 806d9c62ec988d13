// A GPU, emulated on the CPU to prove kernels: every thread of a block is a fiber, and runs until
// it has to wait for others. What a warp does together (matrix products, shuffles, ldmatrix) is
// computed, lane by lane as the PTX ISA writes it, once all 32 lanes have come to it.
//
// Breaking a rule of the machine throws Error from run_grid. Wrong order of accesses is not seen as
// such; but a warp runs as far as it gets before the next one does, in an order that can be chosen,
// fresh shared memory holds a pattern, and copies arrive as late as they may, so that a missing
// barrier changes results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace pyqrt::cuda::emulator {

// What is emulated; the same for all launches until changed. Not thread-safe, like the rest.
enum class Order : uint8_t { kAscending, kDescending, kShuffled };
struct Machine {
  int capability = 80;  // 75: products of 8 x 8 x 16, no asynchronous copies; 90: of warpgroups
  Order order = Order::kAscending;
  std::size_t shared_limit = 99 * 1024;  // bytes a block can have
};
Machine& machine();

// Sets the machine: capability 75, 80 or 90; order "ascending", "descending" or "shuffled". Throws
// Error for others.
void emulate(int capability, const std::string& order);

struct Dim3 {
  int64_t x = 1;
  int64_t y = 1;
  int64_t z = 1;
};

// Runs `thread` as every thread of every block. Throws Error.
void run_grid(Dim3 blocks, int threads, std::size_t shared_bytes,
              const std::function<void()>& thread);

// The following are called by running threads.
int thread_index();
int block_x();
int block_y();
int block_z();
uint8_t* shared_memory();
void sync_block();
void shuffle_xor(void* value, std::size_t size, int mask);
void load_matrices(uint32_t (&word)[4], const void* row);
void mma(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool is_signed);
bool has_warpgroup();
void warpgroup_multiply(int32_t* c, const uint32_t (&a)[4], const void* b, int columns);
void warpgroup_wait();
bool has_async_copy();
void copy_async(void* to, const void* from, int bytes);
void commit_copies();
void copies_arrived(int pending);
void expect_aligned(const void* pointer, std::size_t size);

// Memory that ends where an unreadable page begins, so that reading or writing beyond it ends the
// process; filled with a pattern.
class GuardedMemory {
 public:
  explicit GuardedMemory(std::size_t bytes);  // throws Error
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }
  void fill_with_pattern();

 private:
  uint8_t* mapping_ = nullptr;
  std::size_t mapped_ = 0;
  uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace pyqrt::cuda::emulator
