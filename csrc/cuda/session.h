// A plan on a GPU: its constants there once, and sessions that run it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "cuda/runtime.h"
#include "plan/plan.h"

namespace pyqrt::cuda {

// The constants of a program in the device's memory, in the layout of the file.
class Constants {
 public:
  // Throws Error.
  Constants(const Program& program, Stream& stream);

  // Where what the program has at `host` lies on the device. null stays null.
  template <class Element>
  const Element* at(const Element* host) const {
    return static_cast<const Element*>(find(host));
  }
  std::size_t bytes() const { return memory_.size(); }

 private:
  const void* find(const void* host) const;

  struct Place {
    const std::byte* host;
    std::size_t bytes;
    std::size_t offset;
  };
  std::vector<Place> places_;  // by host address
  Memory memory_;
};

// Runs batches as Session (plan/session.h) does, in larger passes. What a pass launches depends on
// its shape, rounded up, and is recorded once for each; the device reads the true numbers of tokens
// and sequences. Memory grows to the largest pass seen; nothing is allocated after that.
class Session {
 public:
  static constexpr int64_t kPassTokens = 16384;
  static constexpr int64_t kPassSequences = 4096;

  // pass_tokens: a pass ends before it has more, unless one sequence has.
  // Throws Error: no such device, an op the device does not have.
  Session(std::shared_ptr<const Plan> plan, std::shared_ptr<const Constants> constants, int device,
          int64_t pass_tokens = kPassTokens);

  // As Session::run of plan/session.h; everything between ids and outputs stays on the device.
  void run(const int32_t* ids, const int32_t* types, const int32_t* offsets, int64_t sequences,
           void* const* outputs);

  const Plan& plan() const { return *plan_; }
  double device_ms() const { return device_ms_; }  // of the last pass, inputs to last kernel
  std::size_t arena_bytes() const { return arena_ ? arena_->size() : 0; }

 private:
  struct Shape {
    int64_t tokens;
    int64_t sequences;
    int64_t max_length;
    bool operator<(const Shape& other) const {
      return std::tie(tokens, sequences, max_length) <
             std::tie(other.tokens, other.sequences, other.max_length);
    }
  };
  struct Inputs;

  static Shape round_shape(int64_t tokens, int64_t sequences, int64_t max_length);
  void run_pass(const int32_t* ids, const int32_t* types, const int32_t* offsets, int64_t sequences,
                void* const* outputs, int64_t first_sequence);
  void reserve(const Shape& shape);
  void place_buffers(const Shape& shape);
  void launch_nodes(const Shape& shape);

  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<const Constants> constants_;
  Stream stream_;
  int64_t pass_tokens_;
  std::unique_ptr<PinnedMemory> staging_;  // the inputs of a pass on the host, and
  std::unique_ptr<Memory> inputs_;         // on the device
  std::unique_ptr<Memory> arena_;
  std::vector<BufferView> views_;  // by buffer
  std::map<Shape, std::unique_ptr<Recording>> recordings_;
  double device_ms_ = 0;
  std::mutex mutex_;
};

}  // namespace pyqrt::cuda
