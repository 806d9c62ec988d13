// What the host may ask of a GPU: memory, a stream of work, recorded work. Implemented twice:
// runtime_cuda.cc by CUDA's runtime library, emulator/runtime_emulator.cc by the emulator.
//
// Every call throws Error where the device refuses: no driver, no such device, out of memory, a
// device that was lost. The message says which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace pyqrt::cuda {

struct Device {
  int index = 0;
  int capability = 0;  // 75: compute capability 7.5
  // What the kernels were compiled for that run on it, which may be less: it decides what they do.
  int code_capability = 0;
  bool warpgroups = false;  // they have the products of warpgroups
  int multiprocessors = 0;
  int64_t shared_bytes = 0;  // that a block can have
};

// How many devices this process can use. Throws Error, saying why, where there is no driver.
int device_count();
Device describe_device(int index);
std::string device_name(int index);

class Memory;
class Recording;

// Work in order. Not thread-safe.
class Stream {
 public:
  // `native`: a stream of the caller's (cudaStream_t) to work in; null: one of its own.
  explicit Stream(int device, void* native = nullptr);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  const Device& device() const;
  void copy_to_device(void* to, const void* from, std::size_t bytes);
  // Rows of `width` bytes, `from_pitch` apart, to dense rows on the host.
  void copy_to_host(void* to, const void* from, std::size_t width, std::size_t from_pitch,
                    std::size_t rows);
  void clear(void* memory, std::size_t bytes);
  void wait();

  // Records what `work` puts into this stream instead of doing it.
  std::unique_ptr<Recording> record(const std::function<void()>& work);
  void replay(const Recording& recording);

  // Milliseconds of the device between two points of the stream; after wait().
  enum class Mark : uint8_t { kBegin, kEnd };
  void mark(Mark point);
  double milliseconds_between_marks() const;

#ifdef PYQRT_CUDA_EMULATOR
  void launch(std::function<void()> kernel);
#else
  void launch(const void* kernel, int64_t x, int64_t y, int64_t z, int threads,
              std::size_t shared_bytes, void** arguments);
#endif

 private:
  struct State;
  std::unique_ptr<State> state_;
};

namespace emulator {
class GuardedMemory;
}

// Device memory, aligned to 256 bytes at least.
class Memory {
 public:
  Memory(int device, std::size_t bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  int device_;
  std::byte* data_ = nullptr;
  std::size_t size_;
#ifdef PYQRT_CUDA_EMULATOR
  std::unique_ptr<emulator::GuardedMemory> guarded_;
#endif
};

// Memory of the host that the device can read while the host goes on.
class PinnedMemory {
 public:
  PinnedMemory(int device, std::size_t bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_;
};

// Work recorded once and replayed many times: a CUDA graph.
class Recording {
 public:
  Recording();
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  friend class Stream;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pyqrt::cuda
