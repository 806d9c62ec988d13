// Starting a kernel: a function of one argument, a struct that holds everything.
#pragma once

#include "cuda/runtime.h"

#ifndef __CUDACC__
#include "cuda/emulator/emulator.h"
#endif

namespace pyqrt::cuda {

struct Grid {
  int64_t x = 1;
  int64_t y = 1;
  int64_t z = 1;
};

// Throws Error.
template <class Arguments>
void launch(void (*kernel)(Arguments), Grid grid, int threads, std::size_t shared_bytes,
            Stream& stream, const Arguments& arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#ifdef __CUDACC__
  void* list[] = {const_cast<Arguments*>(&arguments)};
  stream.launch(reinterpret_cast<const void*>(kernel), grid.x, grid.y, grid.z, threads,
                shared_bytes, list);
#else
  stream.launch([=] {
    emulator::run_grid({grid.x, grid.y, grid.z}, threads, shared_bytes, [&] { kernel(arguments); });
  });
#endif
}

}  // namespace pyqrt::cuda
