#!/usr/bin/env bash
# pyqrt for AArch64 on an x86-64 Debian: built with the cross compiler, run under qemu.
#
#   tools/aarch64.sh tests [BUILD]     builds and runs the C++ tests at every feature level, warnings
#                                      as errors; looks for float instructions and shared functions
#   tools/aarch64.sh root ROOT         makes an arm64 root file system (debootstrap; needs root)
#   tools/aarch64.sh wheel ROOT OUT    builds the wheel for ROOT's Python into the folder OUT
#   tools/aarch64.sh python ROOT ...   runs ROOT's Python under qemu; CPU=cortex-a72 chooses the core
#
# Needs g++-aarch64-linux-gnu, qemu-user, CMake and Ninja; `root` debootstrap; `wheel` a Python with
# the packages of pyproject.toml's build-system. Exit status: 0 when everything asked for was done.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

# What each core of qemu must turn out to support best.
levels=(cortex-a72:neon cortex-a76:neondot max:neoni8mm)

die() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 not found; install ${2:-$1}"; }

run_tests() {
  local build=${1:-$here/build/aarch64-tests} level cpu
  need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
  need qemu-aarch64 qemu-user
  cmake -S "$here" -B "$build" -G Ninja -DPYQRT_TESTS=ON -DPYQRT_WERROR=ON \
    -DCMAKE_TOOLCHAIN_FILE="$here/cmake/aarch64-linux-gnu.cmake"
  cmake --build "$build"
  for level in "${levels[@]}"; do
    cpu=${level%%:*}
    printf -- '-- %s\n' "$cpu"
    qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu "$cpu" "$build/pyqrt_tests" "${level#*:}" \
      || die "the C++ tests on $cpu"
  done
  "${PYTHON:-python3}" "$here/tools/check_integer_only.py" --objdump aarch64-linux-gnu-objdump "$build"
  local shared
  shared=$(find "$build" -path '*/csrc/ops/*' -name '*.o' -exec aarch64-linux-gnu-nm -AC --defined-only {} + \
    | grep ' W ' || true)
  [ -z "$shared" ] || die "variants share functions; give them internal linkage:"$'\n'"$shared"
  printf 'AArch64: tested at %s\n' "${levels[*]}"
}

# Without the second stage, which would need the kernel to run arm64 programs by itself: files are
# enough for qemu.
make_root() {
  local root=$1 package
  need debootstrap
  debootstrap --foreign --arch=arm64 --variant=minbase \
    --include=python3,libpython3-dev,libstdc++6,libgomp1 bookworm "$root"
  for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
  "${PYTHON:-python3}" -m pip install --target "$root/site" --only-binary=:all: --implementation cp \
    --python-version 3.11 --platform manylinux2014_aarch64 --platform manylinux_2_28_aarch64 \
    'numpy>=1.26' 'tokenizers>=0.20' 'typer>=0.12' 'rich>=13' \
    nanobind pybind11 pybind11-stubgen pytest pytest-timeout hypothesis
}

# ROOT's Python, qemu in front of it; packages in ROOT/site.
run_python() {
  local root=$1
  shift
  need qemu-aarch64 qemu-user
  PYTHONPATH=$root/site${PYTHONPATH:+:$PYTHONPATH} \
    exec qemu-aarch64 -cpu "${CPU:-max}" -L "$root" "$root/usr/bin/python3" "$@"
}

# The build asks ROOT's Python, under qemu, where its headers are and has it write the stubs.
build_wheel() {
  local root out interpreter
  root=$(realpath "$1") out=$2
  interpreter=$root/cross-python
  printf '#!/bin/sh\nexec "%s/tools/aarch64.sh" python "%s" "$@"\n' "$here" "$root" >"$interpreter"
  chmod +x "$interpreter"
  CMAKE_ARGS="-DCMAKE_TOOLCHAIN_FILE=$here/cmake/aarch64-linux-gnu.cmake -DPYQRT_SYSROOT=$root -DPYQRT_CUDA=OFF \
-DPython_EXECUTABLE=$interpreter" _PYTHON_HOST_PLATFORM=linux-aarch64 \
    SETUPTOOLS_EXT_SUFFIX=$("$interpreter" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))') \
    "${PYTHON:-python3}" -m pip wheel --no-build-isolation --no-deps \
    -C build-dir="$here/build/aarch64-wheel" -w "$out" "$here"
}

command=${1:-}
shift || true
case $command in
  tests) run_tests "$@" ;;
  root) make_root "$@" ;;
  wheel) build_wheel "$@" ;;
  python) run_python "$@" ;;
  *) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
