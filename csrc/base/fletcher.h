// A checksum that finds damage to a file at the speed of reading it.
#pragma once

#include <array>
#include <cstdint>

namespace pyqrt {

// Fletcher's checksum with four sums, over the 32-bit little-endian words of `bytes` (a multiple of
// 4) bytes:
//
//     for each word w:  s[0] += w;  s[1] += s[0];  s[2] += s[1];  s[3] += s[2]      modulo 2^64,
//     from 0
//
// A changed word always changes s[0]; of two changed words, or two exchanged, s[0] or s[1] tells.
// It protects against damage, not against somebody who wants the same sums.
//
// J. G. Fletcher, "An Arithmetic Checksum for Serial Transmissions", IEEE Transactions on
// Communications, 1982; with these widths ZFS has it under the name of fletcher4.
std::array<uint64_t, 4> fletcher4(const void* data, int64_t bytes);

}  // namespace pyqrt
