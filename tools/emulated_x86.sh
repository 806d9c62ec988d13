#!/usr/bin/env bash
# pyqrt's kernels for instruction sets that an x86-64 Debian's CPU may lack: the C++ tests of every variant.
#
#   tools/emulated_x86.sh [avxvnni|avx512vnni] [BUILD]   both, or one; builds in BUILD, by default build/x86-tests
#
# avxvnni: the program runs here and emulates its one instruction itself (csrc/tests/avxvnni_by_signals.h); needs
# AVX2. avx512vnni: it runs in an emulator of a whole machine (Bochs, as an Ice Lake), which starts no
# operating system: emulated_x86/kernel.c answers the few system calls of a static program; needs bochs,
# isolinux, syslinux-common and genisoimage. Both need CMake, Ninja and a C++ compiler.
# Exit status: 0 when all variants ran and gave equal bytes; 2 when what emulates is not here or did not get so
# far as to start the tests; 1 otherwise.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
wanted='avxvnni avx512vnni'
case ${1:-} in avxvnni | avx512vnni) wanted=$1; shift ;; esac
build=$(realpath -m "${1:-$here/build/x86-tests}")
level=avx512vnni model=corei7_icelake_u

die() { printf 'FAILED: %s\n' "$2" >&2; exit "$1"; }
need() { [ -e "$1" ] || command -v "$1" >/dev/null || die 2 "$1 not found; install $2"; }

[ "$(uname -m)" = x86_64 ] || die 2 "this builds for x86-64 with the compiler of such a machine"

cmake -S "$here" -B "$build" -G Ninja -DPYQRT_TESTS=ON -DPYQRT_WERROR=ON -DPYQRT_CUDA=OFF \
  -DCMAKE_EXE_LINKER_FLAGS=-static
cmake --build "$build"

if [[ $wanted = *avxvnni* ]]; then
  if grep -qw avx_vnni /proc/cpuinfo; then
    "$build/pyqrt_tests" || die 1 'the C++ tests on this CPU, which has AVX-VNNI'
  else
    grep -qw avx2 /proc/cpuinfo || die 2 'this CPU has no AVX2, so it cannot emulate AVX-VNNI'
    "$build/pyqrt_tests" --emulate-avxvnni || die 1 'the C++ tests with AVX-VNNI emulated'
  fi
  printf 'x86-64: tested avxvnni\n'
fi
[[ $wanted = *avx512vnni* ]] || exit 0

need bochs bochs
need genisoimage genisoimage
loader=/usr/lib/ISOLINUX/isolinux.bin modules=/usr/lib/syslinux/modules/bios
need $loader isolinux
need $modules/mboot.c32 syslinux-common

machine=$build/machine
rm -rf "$machine"
mkdir -p "$machine/disc/isolinux"
cd "$machine"
cc -m64 -std=gnu11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-pic -no-pie -mno-red-zone -mgeneral-regs-only \
  -fno-stack-protector -fcf-protection=none -nostdlib -static -Wl,-T,"$here/tools/emulated_x86/link.ld" \
  -Wl,--build-id=none,--no-warn-rwx-segments "$here"/tools/emulated_x86/{start.S,kernel.c} -o kernel
objcopy -O elf32-i386 kernel disc/kernel # the loader takes 32-bit programs alone
strip -o disc/tests "$build/pyqrt_tests"
cp $loader $modules/{ldlinux,mboot,libcom32}.c32 disc/isolinux
cat >disc/isolinux/isolinux.cfg <<END
default tests
label tests
  kernel mboot.c32
  append /kernel --- /tests $level
END
genisoimage -quiet -o disc.iso -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot \
  -boot-load-size 4 -boot-info-table disc
cat >bochsrc <<END
cpu: model=$model, reset_on_triple_fault=0
memory: guest=512, host=512
ata0-master: type=cdrom, path=disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial.txt
display_library: rfb, options="timeout=0"
sound: driver=dummy
log: bochs.log
panic: action=fatal
error: action=report
info: action=ignore
END
echo continue >commands # of the debugger that Debian's bochs starts in
touch serial.txt
usage=$(bochs --help 2>&1 || true)
debugger=()
case $usage in *" -rc "*) debugger=(-rc commands) ;; esac
timeout 20m bochs -q -f bochsrc "${debugger[@]}" </dev/null >emulator.txt 2>&1 || true
cat serial.txt
[ -s serial.txt ] || die 2 "the emulator did not start the tests; see $machine/emulator.txt"
grep -q '^EXIT 0\{16\}$' serial.txt || die 1 "the C++ tests on $model; see $machine"
printf 'x86-64: tested up to %s\n' "$level"
