// linear by the products of whole warpgroups, which compute capability 9.0 has.
#pragma once

#include "cuda/kernels.h"

namespace pyqrt::cuda {

// As launch_linear, for int8 input; tile: one of the kWarpgroup. Throws Error where the device
// cannot.
void launch_linear_warpgroup(const LinearArgs& args, const int32_t* live_rows, Stream& stream,
                             TileSize tile);

}  // namespace pyqrt::cuda
