#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "base/types.h"
#include "cuda/emulator/emulator.h"

namespace pyqrt::cuda::emulator {

GuardedMemory::GuardedMemory(std::size_t bytes) {
  const auto page = static_cast<int64_t>(sysconf(_SC_PAGESIZE));
  size_ = static_cast<std::size_t>(round_up(static_cast<int64_t>(bytes), 16));
  mapped_ = static_cast<std::size_t>(round_up(static_cast<int64_t>(size_), page) + page);
  void* mapping =
      mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    throw Error("emulated GPU: out of memory for " + std::to_string(bytes) + " bytes");
  }
  mapping_ = static_cast<uint8_t*>(mapping);
  const std::size_t guard = mapped_ - static_cast<std::size_t>(page);
  mprotect(mapping_ + guard, static_cast<std::size_t>(page), PROT_NONE);
  data_ = mapping_ + guard - size_;
  fill_with_pattern();
}

GuardedMemory::~GuardedMemory() {
  munmap(mapping_, mapped_);
}

void GuardedMemory::fill_with_pattern() {
  std::memset(data_, 0x9b, size_);
}

}  // namespace pyqrt::cuda::emulator
