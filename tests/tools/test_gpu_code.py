"""The lists of GPU instructions, and that code with floating point or a division is found."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import check_integer_only
import gpu_code

SASS_FLOAT = [
    "FADD R1, R2, R3",
    "FFMA.FTZ R1, R2, R3, R4",
    "FSETP.GT.AND P0, PT, R1, RZ, PT",
    "FMNMX R1, R2, R3, PT",
    "MUFU.RCP R1, R2",
    "I2F.U32.RP R1, R2",
    "F2I.FTZ.U32.TRUNC.NTZ R1, R2",
    "F2F.F64.F32 R2, R1",
    "I2FP.F32.S32 R1, R2",
    "UI2F R1, UR2",
    "DADD R2, R4, R6",
    "DFMA R2, R4, R6, R8",
    "HADD2 R1, R2, R3",
    "HFMA2.MMA R1, R2, R3, R4",
    "HMMA.16816.F32 R4, R8, R12, R4",
    "HGMMA.64x64x16.F32 R24, gdesc[UR4]",
    "HGMMA.64x8x16.F16 R24, gdesc[URZ], RZ, !UPT, gsb0",
    "QGMMA.64x64x32.F32 R24, gdesc[UR4]",
    "FRND.FLOOR R1, R2",
    "UFADD UR1, UR2, UR3",
]
SASS_INTEGER = [
    "FLO.U32 R1, R2",
    "UFLO.U32 UR1, UR2",
    "FSEL R1, R2, R3, P0",
    "FENCE.VIEW.ASYNC.S",
    "DEPBAR.LE SB0, 0x1",
    "HFMA2.MMA R5, -RZ, RZ, 0, 0",
    "HFMA2 R5, -RZ, RZ, 0, 5.9604644775390625e-08",
    "IMMA.16832.S8.S8 R4, R8.ROW, R12.COL, R4",
    "IGMMA.64x64x32.S8.S8 R24, gdesc[UR4]",
    "HGMMA.64x8x16.F16 RZ, gdesc[URZ], RZ, !UPT, gsb0",
    "IMAD.WIDE R2, R4, R6, R8",
    "I2I.S8.S32.SAT R1, R2",
    "LDSM.16.M88.4 R4, [R2]",
    "LDGSTS.E.BYPASS.128 [R1], [R2.64]",
    "BRA 0x10",
    "EXIT",
]
PTX_FLOAT = [
    "add.f32 %f1, %f2, %f3",
    "cvt.rn.f32.s32 %f1, %r1",
    "fma.rn.f64 %fd1, %fd2, %fd3, %fd4",
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1}, {%r1}, {%r2}, {%f2}",
    "setp.gt.f32 %p1, %f1, %f2",
    "rcp.approx.ftz.f32 %f1, %f2",
    "div.u32 %r1, %r2, %r3",
    "rem.s64 %rd1, %rd2, %rd3",
]
PTX_INTEGER = [
    "mov.f32 %f1, %f2",
    "ld.global.f32 %f1, [%rd1]",
    "mad.lo.s32 %r1, %r2, %r3, %r4",
    "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r1}, {%r2}, {%r3}, {%r4}",
    "clz.b64 %r1, %rd1",
    "ret",
]


KERNELS = {
    "integers": ("x[0] = x[1] * x[2] + (x[3] >> x[4]);", False),
    "division": ("x[0] = x[1] / x[2];", True),
    "float": ("y[0] = y[1] * y[2];", True),
}


@pytest.mark.parametrize("instruction", SASS_FLOAT)
def test_sass_floating_point_is_forbidden(instruction: str) -> None:
    assert gpu_code.sass_is_float(instruction)


@pytest.mark.parametrize("instruction", SASS_INTEGER)
def test_sass_integers_and_moves_are_allowed(instruction: str) -> None:
    assert not gpu_code.sass_is_float(instruction)


@pytest.mark.parametrize("instruction", PTX_FLOAT)
def test_ptx_floating_point_and_divisions_are_forbidden(instruction: str) -> None:
    assert gpu_code.ptx_is_float(instruction)


@pytest.mark.parametrize("instruction", PTX_INTEGER)
def test_ptx_integers_and_moves_are_allowed(instruction: str) -> None:
    assert not gpu_code.ptx_is_float(instruction)


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    """An object with a kernel in it, and whether that is forbidden."""
    folder, body = tmp_path_factory.mktemp("kernel"), KERNELS[request.param][0]
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("needs nvcc")
    source, target = folder / "kernel.cu", folder / "kernel.cu.o"
    source.write_text(f"__global__ void kernel(int* x, float* y) {{ {body} }}\n")
    options = ["-gencode=arch=compute_75,code=[sm_75,compute_75]", "-Xfatbin=-compress=false"]
    subprocess.run([nvcc, *options, "-c", str(source), "-o", str(target)], check=True, capture_output=True)
    return target, KERNELS[request.param][1]


@pytest.mark.parametrize("disassembler", ["cuobjdump", "none"])
def test_compiled_kernels(
    kernel: tuple[Path, bool], monkeypatch: pytest.MonkeyPatch, disassembler: str
) -> None:
    target, forbidden = kernel
    if disassembler == "none":
        monkeypatch.setattr(gpu_code, "find_cuobjdump", lambda: None)
    elif gpu_code.find_cuobjdump() is None:
        pytest.skip("needs cuobjdump")
    assert gpu_code.is_gpu_object(target)
    assert check_integer_only.main([str(target)]) == int(forbidden)


def test_compressed_ptx_cannot_be_read(tmp_path: Path) -> None:
    target = tmp_path / "kernel.cu.o"
    target.write_bytes(b"\x7fELF .nv_fatbin nothing readable")
    with pytest.raises(RuntimeError, match="no readable PTX"):
        list(gpu_code.ptx(target))
