#undef _FORTIFY_SOURCE  // its longjmp takes a jump to another stack for an error
#include "cuda/emulator/emulator.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/types.h"

namespace pyqrt::cuda::emulator {
namespace {

constexpr int kWarpSize = 32;
constexpr std::size_t kStackBytes = 256 * 1024;

constexpr int kGroupWarps = 4;
constexpr int kGroupSize = kGroupWarps * kWarpSize;

// What all lanes of a warp do together.
enum class Together : uint8_t { kNothing, kShuffle, kMatrices, kMma };

// One lane's part of it, on the lane's own stack.
struct LanePart {
  void* value = nullptr;  // shuffle
  std::size_t size = 0;
  int mask = 0;
  uint32_t* word = nullptr;  // load_matrices
  const uint8_t* row = nullptr;
  int32_t* c = nullptr;  // mma
  const uint32_t* a = nullptr;
  uint32_t b[2] = {};
  bool is_signed = true;
};

struct Copy {
  void* to;
  const void* from;
  int bytes;
  int64_t group;
};

// One lane's part of a product of its warpgroup: done as late as it may, registers of A apart.
struct GroupProduct {
  int32_t* c;
  uint32_t a[4];
  const uint8_t* b;
  int columns;
};

enum class State : uint8_t { kReady, kInWarp, kAtBarrier, kDone };

struct Fiber {
  std::unique_ptr<uint8_t[]> stack{new uint8_t[kStackBytes]};
  ucontext_t context;
  jmp_buf resume;
  bool started = false;
  State state = State::kReady;
  LanePart part;
  std::vector<Copy> copies;  // on their way
  int64_t group = 0;         // the open group of copies
  std::vector<GroupProduct> products;
};

struct Warp {
  Together what = Together::kNothing;
  int arrived = 0;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<int> group_arrived;  // lanes that wait for their warpgroup's products
  int threads = 0;
  int current = 0;
  int at_barrier = 0;
  int64_t index[3] = {};
  GuardedMemory* shared = nullptr;
  const std::function<void()>* body = nullptr;
  jmp_buf scheduler;
  ucontext_t scheduler_context;
  std::string error;  // of the kernel; the block is then abandoned
};

Block block;

Fiber& self() {
  return block.fibers[static_cast<std::size_t>(block.current)];
}

[[noreturn]] void to_scheduler() {
  _longjmp(block.scheduler, 1);
}

void wait(State state) {
  Fiber& fiber = self();
  fiber.state = state;
  if (_setjmp(fiber.resume) == 0) to_scheduler();
}

// Nothing on a fiber's stack needs destruction, so a fiber may simply never be resumed.
[[noreturn]] void fail(const std::string& what) {
  if (block.error.empty()) {
    block.error = "thread " + std::to_string(block.current) + " of block (" +
                  std::to_string(block.index[0]) + ", " + std::to_string(block.index[1]) + ", " +
                  std::to_string(block.index[2]) + "): " + what;
  }
  to_scheduler();
}

void fiber_main() {
  (*block.body)();
  self().state = State::kDone;
  to_scheduler();
}

void start(Fiber& fiber) {
  fiber.started = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
  swapcontext(&block.scheduler_context, &fiber.context);
}

void run_fiber(int thread) {
  block.current = thread;
  Fiber& fiber = self();
  if (_setjmp(block.scheduler) != 0) return;
  if (!fiber.started) start(fiber);
  _longjmp(fiber.resume, 1);
}

// An element of a fragment as the ISA numbers them: byte i of the lane's registers.
int element(const uint32_t* registers, int i, bool is_signed) {
  const auto byte = static_cast<uint8_t>(registers[i / 4] >> (8 * (i % 4)));
  return is_signed ? static_cast<int8_t>(byte) : byte;
}

// mma.m16n8k32 of 8-bit integers. PTX ISA, "Matrix Fragments for mma.m16n8k32".
void multiply_16_8_32(LanePart* const* lanes) {
  int a[16][32];
  int b[32][8];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const int group_id = lane >> 2;
    const int thread_in_group = lane % 4;
    for (int i = 0; i < 16; ++i) {
      const int row = i < 4 || (i >= 8 && i < 12) ? group_id : group_id + 8;
      const int column = thread_in_group * 4 + (i & 3) + (i < 8 ? 0 : 16);
      a[row][column] = element(lanes[lane]->a, i, lanes[lane]->is_signed);
    }
    for (int i = 0; i < 8; ++i) {
      const int row = thread_in_group * 4 + (i & 3) + (i < 4 ? 0 : 16);
      b[row][group_id] = element(lanes[lane]->b, i, true);
    }
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = i < 2 ? lane >> 2 : (lane >> 2) + 8;
      const int column = (lane % 4) * 2 + (i & 1);
      int sum = 0;
      for (int k = 0; k < 32; ++k) sum += a[row][k] * b[k][column];
      lanes[lane]->c[i] += sum;
    }
  }
}

// mma.m8n8k16 of 8-bit integers on one register of A and B and two of C per lane. PTX ISA, "Matrix
// Fragments for mma.m8n8k16".
void multiply_8_8_16(LanePart* const* lanes, int a_register, int b_register, int c_register) {
  int a[8][16];
  int b[16][8];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    for (int i = 0; i < 4; ++i) {
      a[lane >> 2][(lane % 4) * 4 + i] =
          element(lanes[lane]->a + a_register, i, lanes[lane]->is_signed);
      b[(lane % 4) * 4 + i][lane >> 2] = element(lanes[lane]->b + b_register, i, true);
    }
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    for (int i = 0; i < 2; ++i) {
      int sum = 0;
      for (int k = 0; k < 16; ++k) sum += a[lane >> 2][k] * b[k][(lane % 4) * 2 + i];
      lanes[lane]->c[c_register + i] += sum;
    }
  }
}

void do_mma(LanePart* const* lanes) {
  if (machine().capability >= 80) {
    multiply_16_8_32(lanes);
    return;
  }
  // machine_device.h composes the product of four in this way.
  for (int k = 0; k < 2; ++k) {
    for (int row = 0; row < 2; ++row) multiply_8_8_16(lanes, 2 * k + row, k, 2 * row);
  }
}

// wgmma.mma_async.m64nNk32 of signed bytes. PTX ISA, "Register Fragments for
// wgmma.mma_async.m64nNk32", and "Shared Memory Matrix Layout", K-major with 128-byte swizzle.
void multiply_64_n_32(const Fiber* fibers, std::size_t number) {
  const int columns = fibers[0].products[number].columns;
  std::vector<int8_t> b(static_cast<std::size_t>(columns) * 32);
  const std::size_t start = fibers[0].products[number].b - block.shared->data();
  for (int column = 0; column < columns; ++column) {
    for (int k = 0; k < 32; ++k) {
      std::size_t address = start + static_cast<std::size_t>(column * 128 + k);
      address ^= (address >> 7 & 7) << 4;
      b[static_cast<std::size_t>(column * 32 + k)] =
          static_cast<int8_t>(block.shared->data()[address]);
    }
  }
  int a[64][32];
  for (int thread = 0; thread < kGroupSize; ++thread) {
    const GroupProduct& part = fibers[thread].products[number];
    for (int i = 0; i < 16; ++i) {
      const int row = 16 * (thread / 32) + thread % 32 / 4 + 8 * (i / 4 % 2);
      a[row][4 * (thread % 4) + i % 4 + 16 * (i / 8)] = element(part.a, i, true);
    }
  }
  for (int thread = 0; thread < kGroupSize; ++thread) {
    const GroupProduct& part = fibers[thread].products[number];
    for (int i = 0; i < columns / 2; ++i) {
      const int row = 16 * (thread / 32) + thread % 32 / 4 + 8 * (i / 2 % 2);
      const int column = 8 * (i / 4) + 2 * (thread % 4) + i % 2;
      int sum = 0;
      for (int k = 0; k < 32; ++k) sum += a[row][k] * b[static_cast<std::size_t>(column * 32 + k)];
      part.c[i] += sum;
    }
  }
}

void do_shuffle(LanePart* const* lanes) {
  uint8_t values[kWarpSize][8];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    std::memcpy(values[lane], lanes[lane]->value, lanes[lane]->size);
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    std::memcpy(lanes[lane]->value, values[lane ^ lanes[lane]->mask], lanes[lane]->size);
  }
}

// ldmatrix.x4 of b16: lane l's address is row l % 8 of matrix l / 8; of every matrix, lane l gets
// elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4.
void do_matrices(LanePart* const* lanes) {
  for (int lane = 0; lane < kWarpSize; ++lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      const uint8_t* row = lanes[matrix * 8 + lane / 4]->row;
      std::memcpy(lanes[lane]->word + matrix, row + 4 * (lane % 4), 4);
    }
  }
}

void together(Together what) {
  const int index = block.current / kWarpSize;
  Warp& warp = block.warps[static_cast<std::size_t>(index)];
  if (warp.arrived == 0) warp.what = what;
  if (warp.what != what) fail("the lanes of its warp do different things");
  if (++warp.arrived < kWarpSize) {
    wait(State::kInWarp);
    return;
  }
  LanePart* lanes[kWarpSize];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    Fiber& fiber = block.fibers[static_cast<std::size_t>(index * kWarpSize + lane)];
    lanes[lane] = &fiber.part;
    fiber.state = State::kReady;
  }
  warp.arrived = 0;
  if (what == Together::kMma) do_mma(lanes);
  if (what == Together::kShuffle) do_shuffle(lanes);
  if (what == Together::kMatrices) do_matrices(lanes);
}

void prepare_block(int threads) {
  while (static_cast<int>(block.fibers.size()) < threads) block.fibers.emplace_back();
  block.warps.assign(static_cast<std::size_t>(threads / kWarpSize), {});
  block.group_arrived.assign(static_cast<std::size_t>(threads / kGroupSize + 1), 0);
  block.threads = threads;
  block.at_barrier = 0;
  block.error.clear();
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = block.fibers[static_cast<std::size_t>(i)];
    fiber.started = false;
    fiber.state = State::kReady;
    fiber.copies.clear();
    fiber.products.clear();
    fiber.group = 0;
  }
  block.shared->fill_with_pattern();
}

std::vector<int> ordered(int count, std::mt19937& random) {
  std::vector<int> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  if (machine().order == Order::kDescending) std::reverse(order.begin(), order.end());
  if (machine().order == Order::kShuffled) std::shuffle(order.begin(), order.end(), random);
  return order;
}

// Runs a warp as far as it gets without the others. False: it could not run at all.
bool run_warp(int warp, std::mt19937& random) {
  bool ran = false;
  for (bool running = true; running;) {
    running = false;
    for (const int lane : ordered(kWarpSize, random)) {
      const int thread = warp * kWarpSize + lane;
      if (block.fibers[static_cast<std::size_t>(thread)].state != State::kReady) continue;
      run_fiber(thread);
      if (!block.error.empty()) return true;
      running = true;
      ran = true;
    }
  }
  return ran;
}

// Runs the threads of the prepared block to their ends, a warp at a time: between two barriers the
// first has done all its work before the last begins.
void run_block(std::mt19937& random) {
  for (bool running = true; running && block.error.empty();) {
    running = false;
    for (const int warp : ordered(block.threads / kWarpSize, random)) {
      running |= run_warp(warp, random);
      if (!block.error.empty()) break;
    }
  }
  if (!block.error.empty()) throw Error("emulated GPU: " + block.error);
  for (int i = 0; i < block.threads; ++i) {
    if (block.fibers[static_cast<std::size_t>(i)].state == State::kDone) continue;
    block.current = i;
    throw Error("emulated GPU: thread " + std::to_string(i) +
                " waits for threads of its warp or block that have ended or wait elsewhere");
  }
}

bool in_shared(const void* pointer, std::size_t size) {
  const auto* byte = static_cast<const uint8_t*>(pointer);
  return byte >= block.shared->data() && byte + size <= block.shared->data() + block.shared->size();
}

void expect_shared(const void* pointer, std::size_t size) {
  if (!in_shared(pointer, size)) fail("an address lies outside of shared memory");
}

}  // namespace

Machine& machine() {
  static Machine the_machine;
  return the_machine;
}

void emulate(int capability, const std::string& order) {
  if (capability != 75 && capability != 80 && capability != 90) {
    throw Error("capabilities are 75, 80 and 90");
  }
  const std::pair<const char*, Order> known[] = {{"ascending", Order::kAscending},
                                                 {"descending", Order::kDescending},
                                                 {"shuffled", Order::kShuffled}};
  for (const auto& [name, value] : known) {
    if (order != name) continue;
    const std::size_t shared_kib = capability == 75 ? 64 : capability == 80 ? 99 : 227;
    machine() = {capability, value, shared_kib * 1024};
    return;
  }
  throw Error("orders are ascending, descending and shuffled");
}

void run_grid(Dim3 blocks, int threads, std::size_t shared_bytes,
              const std::function<void()>& thread) {
  if (blocks.x > INT32_MAX || blocks.y > 65535 || blocks.z > 65535 || blocks.x < 1 ||
      blocks.y < 1 || blocks.z < 1 || threads < kWarpSize || threads > 1024 ||
      threads % kWarpSize != 0) {
    throw Error("emulated GPU: a grid of these extents cannot be launched");
  }
  if (shared_bytes > machine().shared_limit) {
    throw Error("emulated GPU: a block asks for " + std::to_string(shared_bytes) +
                " bytes of shared memory; there are " + std::to_string(machine().shared_limit));
  }
  GuardedMemory shared(shared_bytes);
  block.shared = &shared;
  block.body = &thread;
  std::mt19937 random(1);
  for (block.index[2] = 0; block.index[2] < blocks.z; ++block.index[2]) {
    for (block.index[1] = 0; block.index[1] < blocks.y; ++block.index[1]) {
      for (block.index[0] = 0; block.index[0] < blocks.x; ++block.index[0]) {
        prepare_block(threads);
        run_block(random);
      }
    }
  }
}

int thread_index() {
  return block.current;
}
int block_x() {
  return static_cast<int>(block.index[0]);
}
int block_y() {
  return static_cast<int>(block.index[1]);
}
int block_z() {
  return static_cast<int>(block.index[2]);
}
uint8_t* shared_memory() {
  return block.shared->data();
}

void sync_block() {
  if (++block.at_barrier < block.threads) {
    wait(State::kAtBarrier);
    return;
  }
  block.at_barrier = 0;
  for (int i = 0; i < block.threads; ++i) {
    block.fibers[static_cast<std::size_t>(i)].state = State::kReady;
  }
}

void shuffle_xor(void* value, std::size_t size, int mask) {
  LanePart& part = self().part;
  part.value = value;
  part.size = size;
  part.mask = mask;
  together(Together::kShuffle);
}

void load_matrices(uint32_t (&word)[4], const void* row) {
  expect_aligned(row, 16);
  expect_shared(row, 16);
  LanePart& part = self().part;
  part.word = word;
  part.row = static_cast<const uint8_t*>(row);
  together(Together::kMatrices);
}

void mma(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool is_signed) {
  LanePart& part = self().part;
  part.c = c;
  part.a = a;
  part.b[0] = b0;
  part.b[1] = b1;
  part.is_signed = is_signed;
  together(Together::kMma);
}

bool has_warpgroup() {
  return machine().capability == 90;
}

void warpgroup_multiply(int32_t* c, const uint32_t (&a)[4], const void* b, int columns) {
  if (!has_warpgroup()) fail("a product of warpgroups, which this machine does not have");
  expect_aligned(b, 32);
  expect_shared(b, 1);
  const auto* row = static_cast<const uint8_t*>(b);
  const std::size_t offset = row - block.shared->data();
  if (offset % 1024 >= 128) fail("the right operand of a product begins inside of eight rows");
  expect_shared(row - offset % 1024, static_cast<std::size_t>(columns) * 128);
  GroupProduct part{c, {a[0], a[1], a[2], a[3]}, row, columns};
  self().products.push_back(part);
}

void warpgroup_wait() {
  const int group = block.current / kGroupSize;
  if (group * kGroupSize + kGroupSize > block.threads) fail("its warpgroup has fewer than 4 warps");
  int& arrived = block.group_arrived[static_cast<std::size_t>(group)];
  if (++arrived < kGroupSize) {
    wait(State::kInWarp);
    return;
  }
  arrived = 0;
  Fiber* fibers = block.fibers.data() + group * kGroupSize;
  const std::size_t products = fibers[0].products.size();
  for (int i = 0; i < kGroupSize; ++i) {
    if (fibers[i].products.size() != products)
      fail("the lanes of its warpgroup do different things");
    for (std::size_t p = 0; p < products; ++p) {
      const GroupProduct& mine = fibers[i].products[p];
      if (mine.b != fibers[0].products[p].b || mine.columns != fibers[0].products[p].columns) {
        fail("the lanes of its warpgroup do different products");
      }
    }
  }
  for (std::size_t p = 0; p < products; ++p) multiply_64_n_32(fibers, p);
  for (int i = 0; i < kGroupSize; ++i) {
    fibers[i].products.clear();
    fibers[i].state = State::kReady;
  }
}

bool has_async_copy() {
  return machine().capability >= 80;
}

void copy_async(void* to, const void* from, int bytes) {
  expect_aligned(to, 16);
  if (bytes != 0) expect_aligned(from, 16);
  expect_shared(to, 16);
  if (bytes < 0 || bytes > 16) fail("an asynchronous copy of " + std::to_string(bytes) + " bytes");
  std::memset(to, 0x5a, 16);  // so that reading it now gives something else than later
  self().copies.push_back({to, from, bytes, self().group});
}

void commit_copies() {
  ++self().group;
}

void copies_arrived(int pending) {
  Fiber& fiber = self();
  std::vector<Copy> later;
  for (const Copy& copy : fiber.copies) {
    if (copy.group >= fiber.group - pending) {
      later.push_back(copy);
      continue;
    }
    std::memset(copy.to, 0, 16);
    if (copy.bytes > 0) std::memcpy(copy.to, copy.from, static_cast<std::size_t>(copy.bytes));
  }
  fiber.copies.swap(later);
}

void expect_aligned(const void* pointer, std::size_t size) {
  if (reinterpret_cast<uintptr_t>(pointer) % size != 0) {
    fail("an access of " + std::to_string(size) + " bytes is not aligned");
  }
}

}  // namespace pyqrt::cuda::emulator
