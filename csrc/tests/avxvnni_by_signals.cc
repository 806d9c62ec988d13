#include "tests/avxvnni_by_signals.h"

#if defined(PYQRT_X86) && defined(__linux__)
#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>

#include <atomic>
#include <cstring>

#include "base/cpu_features.h"
#endif

namespace pyqrt::test {

#if defined(PYQRT_X86) && defined(__linux__)
namespace {

std::atomic<int64_t> handled{0};

// The vector registers that a signal interrupted, where XSAVE has put them: the lower halves in the
// legacy area, the upper ones behind its header unless they are all zero.
class SavedVectors {
 public:
  explicit SavedVectors(const ucontext_t* context)
      : area_(reinterpret_cast<unsigned char*>(context->uc_mcontext.fpregs)) {
    std::memcpy(&present_, area_ + kHeader, sizeof present_);
  }

  void read(int number, unsigned char (&value)[32]) const {
    std::memcpy(value, area_ + kLower + 16 * number, 16);
    if ((present_ & kUpperPresent) != 0) {
      std::memcpy(value + 16, area_ + kUpper + 16 * number, 16);
    } else {
      std::memset(value + 16, 0, 16);
    }
  }

  void write(int number, const unsigned char (&value)[32]) {
    if ((present_ & kUpperPresent) == 0) {
      std::memset(area_ + kUpper, 0, 16 * 16);
      present_ |= kUpperPresent | kLowerPresent;
      std::memcpy(area_ + kHeader, &present_, sizeof present_);
    }
    std::memcpy(area_ + kLower + 16 * number, value, 16);
    std::memcpy(area_ + kUpper + 16 * number, value + 16, 16);
  }

 private:
  static constexpr int kLower = 160, kHeader = 512, kUpper = 576;
  static constexpr uint64_t kLowerPresent = 2, kUpperPresent = 4;
  unsigned char* const area_;
  uint64_t present_ = 0;
};

// vpdpbusd ymm, ymm, ymm: C4, R X B and 00010, W vvvv L pp, 50, ModRM; R, X, B and vvvv are
// inverted.
bool is_dot_product(const unsigned char* code) {
  constexpr int kVexLong = 0xc4, kMap0f38 = 2, k256BitsPrefix66 = 5, kOpcode = 0x50;
  const int w_l_pp = code[2] & 0x87, mode = code[4] >> 6;
  return code[0] == kVexLong && (code[1] & 31) == kMap0f38 && w_l_pp == k256BitsPrefix66 &&
         code[3] == kOpcode && mode == 3;
}

void dot_product(const unsigned char* code, SavedVectors& vectors) {
  const int destination = (code[4] >> 3 & 7) | ((code[1] & 0x80) != 0 ? 0 : 8);
  const int source = 15 - (code[2] >> 3 & 15);
  const int weight = (code[4] & 7) | ((code[1] & 0x20) != 0 ? 0 : 8);
  unsigned char sums[32], bytes[32], signed_bytes[32];
  vectors.read(destination, sums);
  vectors.read(source, bytes);
  vectors.read(weight, signed_bytes);
  for (int lane = 0; lane < 8; ++lane) {
    uint32_t sum;
    std::memcpy(&sum, sums + 4 * lane, sizeof sum);
    for (int i = 4 * lane; i < 4 * lane + 4; ++i) {
      sum += static_cast<uint32_t>(bytes[i] * static_cast<int8_t>(signed_bytes[i]));
    }
    std::memcpy(sums + 4 * lane, &sum, sizeof sum);
  }
  vectors.write(destination, sums);
}

void handle(int number, siginfo_t*, void* context_pointer) {
  constexpr int kLength = 5;
  auto* const context = static_cast<ucontext_t*>(context_pointer);
  greg_t& instruction = context->uc_mcontext.gregs[REG_RIP];
  const auto* const code = reinterpret_cast<const unsigned char*>(instruction);
  if (!is_dot_product(code)) {
    signal(number, SIG_DFL);  // the instruction comes again, and ends the process
    return;
  }
  SavedVectors vectors(context);
  dot_product(code, vectors);
  instruction += kLength;
  handled.fetch_add(1, std::memory_order_relaxed);
}

// Does the operating system save vector registers where SavedVectors looks for them?
bool has_standard_layout() {
  unsigned size = 0, offset = 0, c = 0, d = 0;
  return __get_cpuid_count(0xd, 2, &size, &offset, &c, &d) != 0 && size == 256 && offset == 576;
}

}  // namespace

bool emulate_avxvnni() {
  if (!isa_supported(Isa::kAvx2) || isa_supported(Isa::kAvxVnni) || !has_standard_layout()) {
    return false;
  }
  struct sigaction action = {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO;
  return sigaction(SIGILL, &action, nullptr) == 0;
}

int64_t emulated_instructions() {
  return handled.load(std::memory_order_relaxed);
}

#else

bool emulate_avxvnni() {
  return false;
}

int64_t emulated_instructions() {
  return 0;
}

#endif

}  // namespace pyqrt::test
