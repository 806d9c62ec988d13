#include <algorithm>

#include "cuda/session.h"

namespace pyqrt::cuda {
namespace {

std::size_t tensor_bytes(const Tensor& tensor) {
  return static_cast<std::size_t>(tensor.elements()) * size_of(tensor.dtype);
}

std::size_t aligned_bytes(std::size_t bytes) {
  return static_cast<std::size_t>(round_up(static_cast<int64_t>(bytes), int64_t{kAlignment}));
}

std::size_t total_bytes(const Program& program) {
  std::size_t total = 0;
  for (const auto& [name, tensor] : program.tensors) total += aligned_bytes(tensor_bytes(tensor));
  return total;
}

}  // namespace

Constants::Constants(const Program& program, Stream& stream)
    : memory_(stream.device().index, total_bytes(program)) {
  std::size_t offset = 0;
  for (const auto& [name, tensor] : program.tensors) {
    const std::size_t bytes = tensor_bytes(tensor);
    if (bytes == 0) continue;
    places_.push_back({static_cast<const std::byte*>(tensor.data), bytes, offset});
    stream.copy_to_device(memory_.data() + offset, tensor.data, bytes);
    offset += aligned_bytes(bytes);
  }
  stream.wait();
  std::sort(places_.begin(), places_.end(),
            [](const Place& a, const Place& b) { return a.host < b.host; });
}

const void* Constants::find(const void* host) const {
  if (host == nullptr) return nullptr;
  const auto* byte = static_cast<const std::byte*>(host);
  const auto after = std::upper_bound(
      places_.begin(), places_.end(), byte,
      [](const std::byte* value, const Place& place) { return value < place.host; });
  if (after == places_.begin()) throw Error("a constant lies outside of the program's tensors");
  const Place& place = *(after - 1);
  if (byte >= place.host + place.bytes) {
    throw Error("a constant lies outside of the program's tensors");
  }
  return memory_.data() + place.offset + (byte - place.host);
}

}  // namespace pyqrt::cuda
