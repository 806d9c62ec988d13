"""Which variants run: what the CPU and the sources promise, PYQRT_FORCE_ISA, torch tensors."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ops import harness
from ops.harness import OPS, difference, random_s8, random_s16
from ops.test_attention import make_case as attention_case
from ops.test_linear import kernel as linear_kernel
from ops.test_linear import make_case as linear_case
from ops.variant_account import VariantAccount
from pyqrt import ModelError, ops

KERNEL_LISTS = Path(__file__).parents[2] / "csrc" / "ops"
CPU_FLAGS = {
    "avx2": {"avx2"},
    "avxvnni": {"avx2", "avx_vnni"},
    "avx512vnni256": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"},
    "avx512vnni": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"},
    "neon": {"asimd"},
    "neondot": {"asimddp"},
    "neoni8mm": {"asimddp", "i8mm"},
}
# What kernels.inc asks for, by the machine that has it.
ARCHITECTURES = {"x86_64": "PYQRT_X86", "AMD64": "PYQRT_X86", "aarch64": "PYQRT_AARCH64"}


@pytest.mark.parametrize("op", OPS)
def test_reference_is_last(op: str) -> None:
    assert ops.variants(op)[-1] == "reference"
    assert len(set(ops.variants(op))) == len(ops.variants(op))


@pytest.mark.parametrize("op", OPS)
def test_every_variant_the_cpu_runs_is_offered(op: str) -> None:
    """From kernels.inc and /proc/cpuinfo, so that a broken feature test cannot hide a kernel."""
    macro, cpuinfo = ARCHITECTURES.get(platform.machine()), Path("/proc/cpuinfo")
    if macro is None or not cpuinfo.exists():
        pytest.skip("needs the CPU's flags in /proc/cpuinfo")
    if not KERNEL_LISTS.is_dir():
        pytest.skip("needs the C++ sources beside the tests")
    name_of_flags = "flags" if macro == "PYQRT_X86" else "Features"
    line = re.search(rf"^{name_of_flags}\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    if line is None:
        pytest.skip(f"/proc/cpuinfo has no {name_of_flags}: it is another machine's, under an emulator")
    kernels = (KERNEL_LISTS / op / "kernels.inc").read_text()
    sections = re.findall(r"^#if defined\((\w+)\)\n(.*?)^#endif$", kernels, re.MULTILINE | re.DOTALL)
    listed = [name for m, text in sections if m == macro for name in re.findall(r"KERNEL\((\w+),", text)]
    runs = [name for name in listed if CPU_FLAGS[name] <= set(line.group(1).split())]
    assert ops.variants(op) == [*runs, "reference"]


def test_a_run_that_leaves_out_a_variant_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "covered", {op: set(ops.variants(op)) for op in OPS})
    account = VariantAccount()
    account.required = set(OPS)
    session: Any = SimpleNamespace(exitstatus=pytest.ExitCode.OK, config=SimpleNamespace())
    account.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.OK
    harness.covered["gelu"].discard("reference")
    assert account.missing() == {"gelu": {"reference"}}
    account.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED
    account.partial = True  # as after -k or a single test by name
    assert account.missing() == {}


def test_what_several_processes_covered_counts_together(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for covered in ({"gelu": {"reference"}}, {"gelu": {"avx2"}, "pool": {"reference"}}):
        monkeypatch.setattr(harness, "covered", covered)
        account = VariantAccount()
        account.required = set(covered)
        worker: Any = SimpleNamespace(exitstatus=pytest.ExitCode.OK, config=SimpleNamespace(workeroutput={}))
        account.pytest_sessionfinish(worker)
        assert worker.exitstatus == pytest.ExitCode.OK  # alone it need not cover everything
        told.append(worker.config.workeroutput)
    monkeypatch.setattr(harness, "covered", defaultdict(set))
    account = VariantAccount()
    for output in told:
        account.pytest_testnodedown(SimpleNamespace(workeroutput=output))
    account.pytest_testnodedown(SimpleNamespace())  # one that crashed
    assert harness.covered == {"gelu": {"avx2", "reference"}, "pool": {"reference"}}
    assert account.required == {"gelu", "pool"}
    assert not account.partial


def test_check_reports_every_variant_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "covered", {"gelu": set()})
    with pytest.raises(AssertionError) as failure:
        harness.check("gelu", lambda variant: np.zeros((1, 2), np.int8), np.array([[0, 1]], np.int8))
    for variant in ops.variants("gelu"):
        assert f"gelu {variant}: 1 of 2 differ; first at (0, 1): 0 instead of 1" in str(failure.value)


def test_difference_sees_types_and_shapes() -> None:
    zeros = np.zeros((2, 3), np.int8)
    assert not difference((zeros, None), (zeros.copy(), None))
    assert difference(zeros, zeros.astype(np.int16))
    assert difference(zeros, zeros[:1])
    assert difference((zeros, zeros), (zeros, None))
    assert difference(zeros, (zeros, zeros))


def test_unknown_op() -> None:
    with pytest.raises(ModelError, match="convolution"):
        ops.variants("convolution")


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a folder without a `pyqrt`, so that the installed one is imported."""
    command, where = [sys.executable, "-c", code], Path(__file__).parent
    env = os.environ | environment
    return subprocess.run(command, env=env, cwd=where, capture_output=True, text=True, check=False)


SMALL_CALL = "import numpy as np, pyqrt.ops as o; o.normalize(np.ones((1, 3), np.int16)); "


def test_force_isa_takes_known_names() -> None:
    for name in ops.variants("linear"):
        assert run_python(SMALL_CALL, PYQRT_FORCE_ISA=name).returncode == 0


def test_force_isa_refuses_unknown_names() -> None:
    result = run_python(SMALL_CALL, PYQRT_FORCE_ISA="altivec")
    assert result.returncode != 0
    assert "ModelError" in result.stderr
    assert "altivec" in result.stderr


def test_torch_is_not_imported() -> None:
    result = run_python(SMALL_CALL + "import sys; assert 'torch' not in sys.modules")
    assert result.returncode == 0, result.stderr


RNG = np.random.default_rng(77)
LINEAR = linear_case(RNG, 9, 33, 21, "residual_s16", False)
ATTENTION = attention_case(1, [5, 12], 2, 16)
GELU = (random_s16(RNG, 4, 20), random_s16(RNG, 20) & np.int16(0x7FFF))
LAYERNORM = {
    "input": random_s16(RNG, 3, 40),
    "gain8": random_s16(RNG, 40),
    "bias8": np.zeros(40, np.int32),
    "shift8": 16,
    "gain16": random_s16(RNG, 40),
    "bias16": np.zeros(40, np.int32),
    "shift16": 12,
}
TABLE = (random_s8(RNG, 6, 18), random_s16(RNG, 6) & np.int16(0x7FFF), np.array([0, 5, 2], np.int32))
SCORES = RNG.integers(-9999, 9999, (3, 30)).astype(np.int32)
OFFSETS = np.array([0, 2, 5], np.int32)


def convert(value: Any, function: Any) -> Any:
    """`function` of every array inside tuples, lists and dictionaries."""
    if isinstance(value, dict):
        return {name: convert(part, function) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(convert(part, function) for part in value)
    return function(value) if hasattr(value, "dtype") else value


def linear_arguments() -> dict[str, Any]:
    case = dict(LINEAR)
    weight = case.pop("weight")
    sums = weight.sum(axis=1, dtype=np.int32)
    return case | {"weight": ops.pack_weight(weight), "weight_sum": sums, "out_features": len(weight)}


CALLS: dict[str, tuple[Any, Any]] = {
    "linear": (ops.linear, linear_arguments()),
    "attention": (ops.attention, ATTENTION),
    "softmax": (ops.softmax, {"score": SCORES, "multiplier": 99999}),
    "gelu": (ops.gelu, {"input": GELU[0], "multiplier": GELU[1], "shift": 20}),
    "layernorm": (ops.layernorm, LAYERNORM),
    "embedding": (ops.embedding, {"tables": [TABLE], "shift": 8}),
    "pool": (ops.pool, {"input": random_s16(RNG, 5, 9), "offsets": OFFSETS}),
    "normalize": (ops.normalize, {"input": random_s16(RNG, 5, 9)}),
    "rotary": (
        ops.rotary,
        {
            "input": random_s16(RNG, 5, 8),
            "position": np.zeros(5, np.int32),
            "cosine": np.zeros((1, 2), np.int16),
            "sine": np.zeros((1, 2), np.int16),
            "head_dim": 4,
            "shift": 21,
        },
    ),
    "multiply": (
        ops.multiply,
        {
            "a": random_s16(RNG, 5, 9),
            "b": random_s16(RNG, 5, 9),
            "multiplier": np.full(9, 2**30, np.int32),
            "shift": np.full(9, 45, np.int32),
        },
    ),
    "match": (
        ops.match,
        {
            "tokens": random_s16(RNG, 5, 9),
            "rows": random_s16(RNG, 2, 9),
            "offsets": OFFSETS,
            "shift": 4,
        },
    ),
    "neighbours": (ops.neighbours, {"input": random_s16(RNG, 5, 9), "offsets": OFFSETS}),
    "lookup": (ops.lookup, {"input": random_s16(RNG, 5, 9), "table": random_s16(RNG, 513)}),
    "pack_weight": (ops.pack_weight, {"weight": random_s8(RNG, 20, 9)}),
    "unpack_weight": (ops.unpack_weight, {"packed": random_s8(RNG, 2, 3, 16, 4), "n": 20, "k": 9}),
    "exp2_neg": (ops.exp2_neg, {"u": np.arange(0, 65536, 999, dtype=np.uint16)}),
    "gelu_q10": (ops.gelu_q10, {"z": random_s16(RNG, 30)}),
    "isqrt": (ops.isqrt, {"v": np.array([0, 99, 2**61], np.uint64)}),
}


def test_the_calls_cover_every_op() -> None:
    assert set(OPS) <= set(CALLS)
    assert np.array_equal(linear_kernel(LINEAR), ops.linear(**linear_arguments()))


@pytest.mark.parametrize("name", CALLS)
def test_torch_tensors_give_the_same(name: str) -> None:
    torch = pytest.importorskip("torch")
    function, arguments = CALLS[name]
    expected = function(**arguments)
    actual = function(**convert(arguments, torch.from_numpy))
    for part in actual if isinstance(actual, tuple) else (actual,):
        assert isinstance(part, torch.Tensor)
    assert not difference(convert(actual, lambda tensor: tensor.numpy()), expected)
    # numpy first: numpy back, whatever the rest is.
    first = next(iter(arguments))
    if name not in ("embedding",) and name != first:
        mixed = convert(arguments, torch.from_numpy) | {first: arguments[first]}
        result = function(**mixed)
        for part in result if isinstance(result, tuple) else (result,):
            assert isinstance(part, np.ndarray)


def test_torch_views() -> None:
    """A transposed tensor is refused, a column range is read in place."""
    torch = pytest.importorskip("torch")
    rows = torch.from_numpy(random_s16(RNG, 6, 30))
    assert torch.equal(ops.normalize(rows[:, 5:22]), ops.normalize(rows[:, 5:22].contiguous()))
    with pytest.raises(ModelError, match="input"):
        ops.normalize(rows.T)
    with pytest.raises(TypeError, match="input"):
        ops.normalize(rows.float())
    with pytest.raises((ModelError, TypeError), match="input"):
        ops.normalize([[1, 2]])
