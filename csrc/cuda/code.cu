#include "cuda/code.h"

namespace pyqrt::cuda {
namespace {

__global__ void empty_kernel() {}

}  // namespace

const void* any_kernel() {
  return reinterpret_cast<const void*>(empty_kernel);
}

}  // namespace pyqrt::cuda
