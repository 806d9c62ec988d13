// What this build's code for a GPU was compiled for. Of CUDA alone; the emulator has no code apart.
#pragma once

namespace pyqrt::cuda {

// A kernel that does nothing, compiled like all others: CUDA says of it what it was compiled for.
const void* any_kernel();

}  // namespace pyqrt::cuda
