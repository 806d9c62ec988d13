"""Every peer that is installed computes what the float encoder does, as nearly as its numbers allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyqrt.eval.predict import float_run
from pyqrt.quantize.api import quantize_checkpoint
from pyqrt.runtime import load
from pyqrt.tradeoff.processes import Process
from pyqrt.tradeoff.systems import SYSTEMS, missing_packages, new_system
from pyqrt.tradeoff.systems.base import Job, rectangle
from pyqrt.tradeoff.workloads import SINGLE
from tiny_checkpoint import checkpoint

TEXTS = ["a", "a cab", "bean and deed", "e e e e e e e e"]
LEAST_COSINE = {"fp32": 1 - 1e-6, "int8": 0.95}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny embedding checkpoint and its model file."""
    folder = tmp_path_factory.mktemp("source")
    quantize_checkpoint(checkpoint(folder / "bert"), folder / "model.qrt", recipe="plain", progress=False)
    return folder / "bert", folder / "model.qrt"


@pytest.mark.filterwarnings("ignore")  # of libraries that are not ours, which the processes ignore too
@pytest.mark.parametrize(
    ("name", "variant"),
    [(name, variant) for name, system in SYSTEMS.items() for variant in system.variants.get("cpu", ())],
)
def test_a_peer_computes_what_the_floats_do(
    source: tuple[Path, Path], tmp_path: Path, name: str, variant: str
) -> None:
    if missing := missing_packages(name):
        pytest.skip(f"not installed: {', '.join(missing)}")
    directory, file = source
    job = Job(name, variant, str(file), checkpoint=str(directory), folder=str(tmp_path / name))
    with Process(job, tmp_path / "log") as process:  # as the command converts
        process.ask("prepare")
    system = new_system(job)
    system.load()
    assert all(path.stat().st_size for path in system.files())
    model = load(file, threads=1)
    assert model.tokenizer is not None
    encoded = model.tokenizer.encode(TEXTS)
    batch = [item.ids for item in encoded], [item.types for item in encoded]
    expected, _ = float_run(directory, model)(*batch)
    found, scale = system.run(*batch)
    cosine = (expected * found).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert scale == 1.0
    assert cosine.min() > LEAST_COSINE[variant]
    one = [(encoded[1].ids.tolist(), encoded[1].types.tolist())]
    alone = np.asarray(system.call(system.arrange(one)))
    assert np.allclose(alone[0], found[1], atol=1e-5 if variant == "fp32" else 0.1)


def test_quantized_products_do_not_saturate(tmp_path: Path) -> None:
    """Products of ONNX Runtime's int8 graph whose pairs exceed 16 bits, on any CPU."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from pyqrt.tradeoff.systems.onnxruntime_model import _quantize

    weights = np.full((64, 8), 0.5, np.float32)
    floats, integers = tmp_path / "floats.onnx", tmp_path / "integers.onnx"
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 64])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 8])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), floats)
    _quantize(floats, integers)
    session = onnxruntime.InferenceSession(str(integers), providers=["CPUExecutionProvider"])
    x = np.ones((1, 64), np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ weights, rtol=1e-6)


def test_a_rectangle() -> None:
    found = rectangle([([5, 6, 7], [0, 1, 1]), ([8], [0])])
    assert found["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert found["token_type_ids"].tolist() == [[0, 1, 1], [0, 0, 0]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_an_answer_after_death(source: tuple[Path, Path], tmp_path: Path) -> None:
    """A process that dies is an error that names its log."""
    from pyqrt.tradeoff.processes import WorkerError

    job = Job("pyqrt", "plain", str(source[1]))
    with Process(job, tmp_path / "log") as process:
        process._process.kill()
        with pytest.raises(WorkerError, match=r"ended with status -9; .*log may say why"):
            process.ask("turn", workload=SINGLE, seconds=0.1)
