"""The exported ONNX model: sound, run by ONNX Runtime, close to the integers, indifferent to padding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import onnx
from pyqrt.cli import app
from pyqrt.errors import ModelError
from pyqrt.onnx.compare import compare, run_onnx
from pyqrt.onnx.export import export_onnx
from pyqrt.program import Node
from pyqrt.quantize.api import quantize_checkpoint, quantize_encoder
from pyqrt.runtime.format import ModelFile
from pyqrt.runtime.model import Model
from tiny_encoders import mixed_lengths, random_sequences, tiny_configurations, tiny_encoder
from trained_checkpoints import MISSING, demo_checkpoint

# Float operators between the file's roundings: an output may differ where the polynomials do, and
# where a rounding falls the other way.
LEAST_COSINE = 0.995


def quantized(name: str = "bert", number: int = 0) -> tuple[ModelFile, list[list[int]], list[list[int]]]:
    encoder = tiny_encoder(name, number)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 12))
    file = quantize_encoder(encoder, sequences)
    return file, [s.ids for s in sequences], [s.types for s in sequences]


@pytest.mark.parametrize(("name", "number"), tiny_configurations())
def test_every_family(name: str, number: int, tmp_path: Path) -> None:
    file, ids, types = quantized(name, number)
    export_onnx(file, tmp_path / "model.onnx")
    difference = compare(tmp_path / "model.onnx", Model(file), ids, types)
    assert difference.rows >= len(ids)
    assert difference.magnitude > 0
    # Rows of one column have a sign for a direction, which a small value may change.
    one_column = file.program.buffers[file.program.outputs[0].buffer].width == 1
    assert difference.cosine_mean > LEAST_COSINE or (one_column and difference.largest < 0.02)


def test_padding_changes_nothing_but_roundings(tmp_path: Path) -> None:
    """Sequences in one padded batch and one by one: a leak of padding would be a change of everything."""
    file, ids, types = quantized()
    export_onnx(file, tmp_path / "model.onnx")
    name = file.task.output

    def outputs(chosen: list[list[int]], kinds: list[list[int]]) -> list[NDArray[np.float32]]:
        return run_onnx(tmp_path / "model.onnx", chosen, kinds, name)

    together = outputs(ids[:8], types[:8])
    for i in range(8):
        (alone,) = outputs([ids[i]], [types[i]])
        np.testing.assert_allclose(together[i], alone, atol=0.02 * np.abs(alone).max())


def test_is_quantized(tmp_path: Path) -> None:
    """Weights and tables are int8 in the file, one QuantizeLinear for every 8- or 16-bit buffer."""
    file, _, _ = quantized()
    export_onnx(file, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    stored = {i.name: i.data_type for i in model.graph.initializer}
    weights = [t for n, t in stored.items() if n.endswith(("/weight", "/word", "/position"))]
    assert len(weights) >= 10
    assert set(weights) == {onnx.TensorProto.INT8}
    rounded = sum(node.op_type == "QuantizeLinear" for node in model.graph.node)
    assert rounded == sum(buffer.dtype != "s32" for buffer in file.program.buffers)
    assert [p.value for p in model.metadata_props] == [file.header_digest]


def test_unknown_node(tmp_path: Path) -> None:
    file, _, _ = quantized()
    nodes = (*file.program.nodes, Node("convolution", "layers.9", (0,), (1,), {}, {}))
    strange = file._replace(program=file.program._replace(nodes=nodes))
    with pytest.raises(ModelError, match=r"layers\.9: convolution has no ONNX form"):
        export_onnx(strange, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
    first = file.program.nodes[0]
    changed = first._replace(attributes=first.attributes | {"dilation": 2})
    program = file.program._replace(nodes=(changed, *file.program.nodes[1:]))
    with pytest.raises(ModelError, match=r"embeddings\.sum: dilation of embedding has no ONNX form"):
        export_onnx(file._replace(program=program), tmp_path / "model.onnx")


@pytest.mark.skipif(demo_checkpoint() is None, reason=MISSING)
def test_command_on_a_real_checkpoint(tmp_path: Path) -> None:
    checkpoint = demo_checkpoint()
    assert checkpoint is not None
    quantize_checkpoint(checkpoint, tmp_path / "model.qrt", progress=False)
    command = ["export-onnx", str(tmp_path / "model.qrt"), "-o", str(tmp_path / "model.onnx"), "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    difference = json.loads(result.stdout)["difference"]
    assert difference["rows"] == 120
    assert difference["cosine_mean"] > 0.998
