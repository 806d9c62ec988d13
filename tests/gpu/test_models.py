"""Whole models on GPUs: bytes equal the CPU's, whatever the batch; errors are clear."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyqrt
from gpu.targets import EMULATED, TARGETS, Target
from pyqrt import ModelError, _runtime
from pyqrt.lower import lower
from pyqrt.models import families, family
from quantize.test_qat import calibrated
from runtime import small_model
from tiny_encoders import (
    mixed_lengths,
    packed,
    plain_scales,
    random_sequences,
    tiny_configurations,
    tiny_encoder,
    tiny_program,
)


def device_name(target: Target) -> str:
    return "cuda-emulator" if target.capability else "cuda"


def run(session: Any, sequences: list[Any]) -> list[bytes]:
    ids, offsets, types = packed(sequences)
    return [values.tobytes() for values in session.run(ids, offsets, types)]


# Families whose tiny programs plain scales describe; nothing here is about calibration.
CONFIGURATIONS = [("bert", number) for name, number in tiny_configurations() if name == "bert"]
CONFIGURATIONS += [("distilbert", 0), ("roberta", 0), ("electra", 1), ("data2vec-text", 0)]


@pytest.mark.parametrize(("name", "number"), CONFIGURATIONS)
def test_families_equal_the_reference(target: Target, name: str, number: int) -> None:
    models, _ = target.modules()
    encoder = tiny_encoder(name, number)
    program, tensors = lower(encoder, plain_scales(encoder))
    sequences = random_sequences(encoder, mixed_lengths(encoder, 3), seed=4)
    cpu = _runtime.Session(_runtime.Model(program.to_dict(), tensors, "reference"), 1)
    assert run(models.Session(models.Model(program.to_dict(), tensors)), sequences) == run(cpu, sequences)


# The first configuration of each, and those with what it lacks: a convolution, global tokens, spans,
# several sizes of blocks.
SHOWN = [(name, 0) for name in families()]
SHOWN += [
    (name, number)
    for name, number in tiny_configurations()
    if (name == "deberta-v2" and "conv_act" in family(name).tiny()[number])
    or (name == "longformer" and family(name).configure(family(name).tiny()[number], None).global_tokens)
    or (
        name == "big_bird" and number > 0 and family(name).configure(family(name).tiny()[number], None).blocks
    )
    or (name == "splinter" and family(name).configure(family(name).tiny()[number], None).head.spans)
]


@pytest.mark.parametrize(("name", "number"), SHOWN)
@pytest.mark.parametrize("target", [EMULATED[0], EMULATED[-1], TARGETS[-1]], ids=lambda t: t.name)
def test_every_family_equals_the_reference(target: Target, name: str, number: int) -> None:
    """With scales that calibration chose, for ops that some families alone have."""
    models, _ = target.modules()
    encoder = tiny_encoder(name, number)
    program, tensors = lower(encoder, calibrated(encoder))
    sequences = random_sequences(encoder, mixed_lengths(encoder, 3), seed=4)
    cpu = _runtime.Session(_runtime.Model(program.to_dict(), tensors, "reference"), 1)
    assert run(models.Session(models.Model(program.to_dict(), tensors)), sequences) == run(cpu, sequences)


def test_recorded_work_serves_other_batches_of_its_shape(target: Target) -> None:
    """What is recorded for one batch reads the numbers of another, and larger batches replace memory."""
    models, _ = target.modules()
    program, tensors = tiny_program(0)
    encoder = tiny_encoder("bert", 0)
    cpu = _runtime.Session(_runtime.Model(program.to_dict(), tensors, "reference"), 1)
    gpu = models.Session(models.Model(program.to_dict(), tensors))
    for lengths in ([9, 4], [3, 7], [1], [10, 1, 1, 2], [2, 2, 2], [9, 4]):
        sequences = random_sequences(encoder, lengths, seed=sum(lengths))
        assert run(gpu, sequences) == run(cpu, sequences)


@pytest.mark.parametrize("pass_tokens", [1, 8, 20])
def test_a_batch_of_several_passes(target: Target, pass_tokens: int) -> None:
    models, _ = target.modules()
    program, tensors = tiny_program(0)
    sequences = random_sequences(tiny_encoder("bert", 0), [3, 9, 2, 2, 7, 1], seed=3)
    cpu = _runtime.Session(_runtime.Model(program.to_dict(), tensors), 1)
    gpu = models.Session(models.Model(program.to_dict(), tensors), 0, pass_tokens)
    assert run(gpu, sequences) == run(cpu, sequences)


@pytest.mark.parametrize("task", ["EMBEDDING", "SEQUENCE", "TOKENS", "ANSWERS"])
def test_every_kind_of_node_and_output(target: Target, tmp_path: Path, task: str) -> None:
    device = device_name(target)
    path = small_model.save(tmp_path / "model.qrt", getattr(small_model, task))
    on_cpu, on_gpu = pyqrt.load(path), pyqrt.load(path, device=device)
    sequences = [[2, 4, 3], [2, 9, 8, 7, 3], [5], list(range(14))]
    for output in on_cpu.program.outputs:
        expected = on_cpu.run(sequences, output=output.name)
        actual = on_gpu.run(sequences, output=output.name)
        assert actual.scale == expected.scale
        for mine, theirs in zip(actual.values, expected.values, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    description = on_gpu.describe()
    assert description["device"] == device
    assert {node["variant"] for node in description["nodes"]} == {description["isa"]}


EMULATOR, GPU = EMULATED[0], TARGETS[-1]


def any_model(folder: Path) -> Path:
    return small_model.save(folder / "model.qrt", small_model.EMBEDDING)


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    EMULATOR.modules()
    path = any_model(tmp_path)
    with pytest.raises(ModelError, match=r"no device 'cuda-emulator:3'.* 1 GPUs"):
        pyqrt.load(path, device="cuda-emulator:3")


@pytest.mark.parametrize("arguments", [{"threads": 2}, {"isa": "reference"}])
def test_arguments_of_the_cpu(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="is for device='cpu'"):
        pyqrt.load(any_model(tmp_path), device="cuda", **arguments)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "CUDA", "", "cpu:0"])
def test_unknown_devices(tmp_path: Path, device: str) -> None:
    with pytest.raises(ModelError, match="unknown device"):
        pyqrt.load(any_model(tmp_path), device=device)


def test_a_machine_without_gpu_says_so(tmp_path: Path) -> None:
    """No driver, or a build without CUDA: an error that says which and what to do, and nothing breaks."""
    from pyqrt.runtime import devices

    try:
        devices.gpus()
    except ModelError:
        pass
    else:
        pytest.skip("this machine has a GPU")
    path = any_model(tmp_path)
    with pytest.raises(ModelError, match="use device='cpu'"):
        pyqrt.load(path, device="cuda")
    assert pyqrt.load(path).run([[2, 3]]).scale


def test_bad_batches(target: Target) -> None:
    models, _ = target.modules()
    program, tensors = tiny_program(0)
    session = models.Session(models.Model(program.to_dict(), tensors))
    ids, offsets = np.array([1, 10**6], np.int32), np.array([0, 2], np.int32)
    with pytest.raises(ModelError, match="token id 1000000 at position 1"):
        session.run(ids, offsets)
    with pytest.raises(ModelError, match="offsets must run from 0"):
        session.run(ids, np.array([0, 1], np.int32))


def test_memory_that_runs_out(tmp_path: Path) -> None:
    """A clear error; afterwards the same session works."""
    GPU.modules()
    import torch

    path = any_model(tmp_path)
    model = pyqrt.load(path, device="cuda")
    small, large = [[2, 4, 3]], [[2, 4, 3, 5]] * 8000
    expected = pyqrt.load(path)
    assert [v.tobytes() for v in model.run(small).values] == [v.tobytes() for v in expected.run(small).values]
    free, _ = torch.cuda.mem_get_info()
    held = []
    while free > 1 << 16:  # down to less than the larger batch needs
        try:
            held.append(torch.empty(free, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            free //= 2
    with pytest.raises(ModelError, match=r"out of memory.*use smaller batches or shorter texts"):
        model.run(large)
    del held
    torch.cuda.empty_cache()
    for batch in (small, large):
        assert [v.tobytes() for v in model.run(batch).values] == [
            v.tobytes() for v in expected.run(batch).values
        ]


LOST = """
import sys
import torch
import pyqrt

on_gpu, on_cpu = pyqrt.load(sys.argv[1], device="cuda"), pyqrt.load(sys.argv[1])
batch = [[2, 4, 3], [5]]
equal = [v.tobytes() for v in on_gpu.run(batch).values] == [v.tobytes() for v in on_cpu.run(batch).values]
try:  # an index that a kernel of torch's refuses: nothing in this process can use the GPU after it
    torch.zeros(3, device="cuda")[torch.tensor([7], device="cuda")].cpu()
except RuntimeError:
    pass
for attempt in (lambda: on_gpu.run(batch), lambda: pyqrt.load(sys.argv[1], device="cuda").run(batch)):
    try:
        attempt()
        print("no error")
    except pyqrt.ModelError as error:
        print(error)
del on_gpu
print(equal, len(on_cpu.run(batch).values))
"""


def test_a_device_that_is_lost(tmp_path: Path) -> None:
    """Each use says so, the process ends as it should, and the CPU goes on."""
    GPU.modules()
    command = [sys.executable, "-c", LOST, str(any_model(tmp_path))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    first, second, last = result.stdout.strip().splitlines()
    for message in (first, second):
        assert message.startswith("CUDA: ")
        assert message.endswith("restart the process, or use device='cpu'")
    assert last == "True 2"
