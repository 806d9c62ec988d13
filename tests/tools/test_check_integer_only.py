"""The disassembly check itself: it must find floating-point code, and only that."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import check_integer_only

X86_FLOAT = """
    addps vaddss mulsd vmulpd divps sqrtss vsqrtpd minps vmaxsd addsubps haddps dpps vdppd
    cmpltps vcmple_oqpd vcmpps comiss ucomisd vucomiss cvtsi2sd cvtsi2sdl vcvttps2dq cvtps2pd vcvtph2ps
    vcvtneps2bf16 vdpbf16ps vfmadd213ps vfnmsub231sd rcpps vrcp14ps rsqrtss vrsqrt14pd roundps
    vrndscaless vreducepd vrangeps vgetexppd vgetmantss vscalefps vfixupimmps vfpclassps vaddph vmulsh
    vcomish vaddbf16 tdpbf16ps fadd fmulp fld fildll fstpt fsqrt fxch pfadd pi2fd vminmaxps
""".split()

X86_INTEGER = """
    movaps vmovups movss vmovsd movlps movhpd vmovddup movmskps vmovshdup andps vandnpd orps vxorps
    shufps vshufpd unpcklps vunpckhpd blendps vblendvps vblendmps vbroadcastss vinsertps vinsertf128
    vextractps vpermps vpermpd vpermilps vpermt2ps vmaskmovps vgatherdps vscatterqpd vcompressps
    vexpandpd vtestps pmaxsd vpminsd vpabsd pmulhrsw vpdpbusd vpdpwssd vpdpwssds vpackssdw vpmovsdb
    vpmaddubsw psadbw vpsrad vpcmpgtd vpternlogd vpcompressd kmovw ktestd vzeroupper push pushq pop
    imul idivl add sub lea leaq test cmovg sete jmp je call ret nopw clflush prefetcht0 mulx shlx bsr
    lzcnt tzcnt popcnt cltq cqto cwtl rdtscp pause lfence endbr64 ud2
""".split()

ARM_FLOAT = """
    fadd fmul fmadd fmla fdiv fsqrt fcmp fccmp fcsel fcvt fcvtzs fcvtns frintn fmax fneg fabs frecpe
    scvtf ucvtf fjcvtzs bfdot bfmmla bfcvt bfcvtn bfmlalb
""".split()

ARM_INTEGER = """
    fmov bfi bfxil bfm bfc sdot udot smmla usdot smull sqrdmulh srshl add sub madd ldr str ldp cmp csel
    b.ne bl ret ubfx sbfx tbl zip1 movi mov dup saddlv clz rbit ursqrte
""".split()


@pytest.mark.parametrize("mnemonic", X86_FLOAT)
def test_x86_floating_point_is_forbidden(mnemonic: str) -> None:
    assert check_integer_only.x86_is_float(mnemonic)


@pytest.mark.parametrize("mnemonic", X86_INTEGER)
def test_x86_integers_and_moves_are_allowed(mnemonic: str) -> None:
    assert not check_integer_only.x86_is_float(mnemonic)


@pytest.mark.parametrize("mnemonic", ARM_FLOAT)
def test_arm_floating_point_is_forbidden(mnemonic: str) -> None:
    assert check_integer_only.arm_is_float(mnemonic)


@pytest.mark.parametrize("mnemonic", ARM_INTEGER)
def test_arm_integers_and_moves_are_allowed(mnemonic: str) -> None:
    assert not check_integer_only.arm_is_float(mnemonic)


@pytest.mark.parametrize(
    ("instruction", "mnemonic"),
    [
        ("lock cmpxchg %rdx,(%rdi)", "cmpxchg"),
        ("rep stos %al,%es:(%rdi)", "stos"),
        ("{vex} vpdpbusd %ymm1,%ymm2,%ymm3", "vpdpbusd"),
        ("cs nopw 0x0(%rax,%rax,1)", "nopw"),
        ("rex.W addss %xmm1,%xmm0", "addss"),
        ("ret", "ret"),
    ],
)
def test_prefixes_are_not_mnemonics(instruction: str, mnemonic: str) -> None:
    assert check_integer_only.mnemonic_of(instruction) == mnemonic


def compiled(folder: Path, name: str, source: str) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or shutil.which("objdump") is None:
        pytest.skip("needs a C compiler and objdump")
    file = folder / f"{name}.c"
    file.write_text(source)
    target = folder / f"{name}.c.o"
    subprocess.run([compiler, "-O2", "-c", str(file), "-o", str(target)], check=True)
    return target


FLOAT_SOURCE = "float scaled(float x, float y) { return x * y; }\n"
INTEGER_SOURCE = "int scaled(int x, int y) { return (x * y) >> 7; }\n"
MOVE_SOURCE = "float first(const float* x, const float* y, int pick) { return pick ? *x : *y; }\n"


def test_a_float_multiplication_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = compiled(tmp_path, "float", FLOAT_SOURCE)
    assert check_integer_only.main([str(target)]) == 1
    output = capsys.readouterr().out
    assert "float.c.o: scaled: " in output
    assert "mul" in output


@pytest.mark.parametrize("source", [INTEGER_SOURCE, MOVE_SOURCE])
def test_integers_and_float_moves_pass(tmp_path: Path, source: str) -> None:
    assert check_integer_only.main([str(compiled(tmp_path, "integer", source))]) == 0


def test_one_bad_object_among_good_ones_fails(tmp_path: Path) -> None:
    good = compiled(tmp_path, "good", INTEGER_SOURCE)
    bad = compiled(tmp_path, "bad", FLOAT_SOURCE)
    assert check_integer_only.main([str(good), str(bad)]) == 1


def test_a_build_without_kernels_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(tmp_path, "elsewhere", INTEGER_SOURCE)
    assert check_integer_only.main([str(tmp_path)]) == 2
    assert "build first" in capsys.readouterr().err


def test_only_kernel_objects_of_a_build_count(tmp_path: Path) -> None:
    kernels = tmp_path / "target.dir" / "csrc" / "ops" / "linear"
    kernels.mkdir(parents=True)
    kernel = compiled(kernels, "linear_ref", INTEGER_SOURCE)
    compiled(tmp_path, "binding", FLOAT_SOURCE)
    assert check_integer_only.kernel_objects(tmp_path) == [kernel]


def test_a_file_that_is_no_object_cannot_be_checked(tmp_path: Path) -> None:
    text = tmp_path / "text.o"
    text.write_text("not an object\n")
    assert check_integer_only.main([str(text)]) == 2


def test_a_missing_disassembler_cannot_check(tmp_path: Path) -> None:
    assert check_integer_only.main([str(tmp_path), "--objdump", "no-such-objdump"]) == 2


def test_undecoded_bytes_are_not_proof(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = check_integer_only.Disassembly("x86-64", (("f", "ret"), ("f", "(bad)")))
    monkeypatch.setattr(check_integer_only, "disassemble", lambda path, objdump: code)
    found, total = check_integer_only.findings(tmp_path, "objdump")
    assert [finding.instruction for finding in found] == ["(bad)"]
    assert total == 2
