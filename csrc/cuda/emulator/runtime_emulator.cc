// runtime.h by the emulator: the device's memory is guarded memory of the host, a stream does its
// work at once, a recording keeps what was launched.
#include <cstring>
#include <vector>

#include "base/types.h"
#include "cuda/emulator/emulator.h"
#include "cuda/runtime.h"

namespace pyqrt::cuda {
namespace {

constexpr std::size_t kAllocation = 256;  // the alignment of device memory

void check_device(int index) {
  if (index != 0) {
    throw Error("there is no emulated GPU " + std::to_string(index) + "; there is only number 0");
  }
}

}  // namespace

int device_count() {
  return 1;
}

Device describe_device(int index) {
  check_device(index);
  Device device;
  device.capability = emulator::machine().capability;
  device.code_capability = device.capability;
  device.warpgroups = device.capability == 90;
  device.multiprocessors = 4;
  device.shared_bytes = static_cast<int64_t>(emulator::machine().shared_limit);
  return device;
}

std::string device_name(int index) {
  check_device(index);
  return "emulated GPU";
}

struct Recording::State {
  std::vector<std::function<void()>> work;
};
Recording::Recording() : state_(new State) {}
Recording::~Recording() = default;

struct Stream::State {
  Device device;
  Recording::State* recording = nullptr;

  void do_or_record(std::function<void()> work) {
    if (recording != nullptr) {
      recording->work.push_back(std::move(work));
    } else {
      work();
    }
  }
};

Stream::Stream(int device, void* /*native*/) : state_(new State) {
  state_->device = describe_device(device);
}
Stream::~Stream() = default;

const Device& Stream::device() const {
  return state_->device;
}

void Stream::copy_to_device(void* to, const void* from, std::size_t bytes) {
  state_->do_or_record([=] { std::memcpy(to, from, bytes); });
}

void Stream::copy_to_host(void* to, const void* from, std::size_t width, std::size_t from_pitch,
                          std::size_t rows) {
  state_->do_or_record([=] {
    for (std::size_t row = 0; row < rows; ++row) {
      std::memcpy(static_cast<std::byte*>(to) + row * width,
                  static_cast<const std::byte*>(from) + row * from_pitch, width);
    }
  });
}

void Stream::clear(void* memory, std::size_t bytes) {
  state_->do_or_record([=] { std::memset(memory, 0, bytes); });
}

void Stream::wait() {}

std::unique_ptr<Recording> Stream::record(const std::function<void()>& work) {
  auto recording = std::make_unique<Recording>();
  state_->recording = recording->state_.get();
  try {
    work();
  } catch (...) {
    state_->recording = nullptr;
    throw;
  }
  state_->recording = nullptr;
  return recording;
}

void Stream::replay(const Recording& recording) {
  for (const auto& work : recording.state_->work) work();
}

void Stream::mark(Mark) {}
double Stream::milliseconds_between_marks() const {
  return 0;  // an emulated GPU has no time of its own
}

void Stream::launch(std::function<void()> kernel) {
  state_->do_or_record(std::move(kernel));
}

Memory::Memory(int device, std::size_t bytes) : device_(device), size_(bytes) {
  check_device(device);
  // As tightly before the guard as the alignment allows.
  const auto rounded =
      static_cast<std::size_t>(round_up(static_cast<int64_t>(bytes), int64_t{kAllocation}));
  guarded_ = std::make_unique<emulator::GuardedMemory>(rounded);
  data_ = reinterpret_cast<std::byte*>(guarded_->data());
}
Memory::~Memory() = default;

PinnedMemory::PinnedMemory(int device, std::size_t bytes) : size_(bytes) {
  check_device(device);
  data_ = new std::byte[bytes];
}
PinnedMemory::~PinnedMemory() {
  delete[] data_;
}

}  // namespace pyqrt::cuda
