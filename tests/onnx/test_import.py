"""Exported ONNX encoders as checkpoints: the very weights of the original, names kept or lost."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers_reference import load_reference, save_tiny

import onnx
from onnx import helper
from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.quantize.checkpoint import load_checkpoint

FAMILIES = ["bert", "roberta", "distilbert", "electra"]


class _AsExported(torch.nn.Module):
    """The part of a transformers model that exporters keep."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.model(input_ids=ids, attention_mask=mask)[0]
        return result


def export(hf: dict[str, Any], directory: Path, attention: str = "eager", opset: int = 17) -> Path:
    """Saves the tiny checkpoint of `hf` and an ONNX export of it; returns the export's directory."""
    original = save_tiny(hf, directory / "original")
    described_by = family(hf["model_type"])
    model = load_reference(original, described_by.configure(hf, None).head)
    model.set_attn_implementation(attention)
    exported = directory / "exported"
    exported.mkdir()
    (exported / "config.json").write_bytes((original / "config.json").read_bytes())
    ids = torch.arange(2, 6)[None].repeat(2, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated, and says more of the like
        torch.onnx.export(
            _AsExported(model),
            (ids, torch.ones_like(ids)),
            exported / "model.onnx",
            input_names=["input_ids", "attention_mask"],
            dynamic_axes={name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")},
            opset_version=opset,
            dynamo=False,
        )
    return exported


def lose_names(path: Path) -> None:
    """Numbers in place of all names but the inputs'."""
    model = onnx.load(path)
    inputs = {value.name for value in model.graph.input}
    numbers: dict[str, str] = {"": ""}

    def number(name: str) -> str:
        return name if name in inputs else numbers.setdefault(name, str(len(numbers)))

    for tensor in model.graph.initializer:
        tensor.name = number(tensor.name)
    for node in model.graph.node:
        node.name = ""
        node.input[:] = [number(name) for name in node.input]
        node.output[:] = [number(name) for name in node.output]
    for value in model.graph.output:
        value.name = number(value.name)
    del model.graph.value_info[:]
    onnx.save(model, path)


def assert_same(original: Path, exported: Path) -> None:
    expected, _ = load_checkpoint(original)
    actual, checkpoint = load_checkpoint(exported)
    assert list(checkpoint.sha256) == ["model.onnx"]
    weights = dict(actual.named_parameters())
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(weights[name], parameter, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_task(model_type: str, tmp_path: Path) -> None:
    seen = set()
    for number, hf in enumerate(family(model_type).tiny()):
        task = hf["architectures"][0]
        if task in seen or task.endswith(("MultipleChoice", "PreTraining")):
            continue
        seen.add(task)
        (tmp_path / str(number)).mkdir()
        assert_same(tmp_path / str(number) / "original", export(hf, tmp_path / str(number)))


@pytest.mark.parametrize(("attention", "opset"), [("eager", 14), ("sdpa", 17)])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_names_lost(model_type: str, opset: int, attention: str, tmp_path: Path) -> None:
    exported = export(family(model_type).tiny()[0], tmp_path, attention, opset)
    lose_names(exported / "model.onnx")
    assert_same(tmp_path / "original", exported)


def test_folder_of_sentence_transformers(tmp_path: Path) -> None:
    """They keep the export in a folder of its own."""
    exported = export(family("bert").tiny()[0], tmp_path)
    (exported / "onnx").mkdir()
    (exported / "model.onnx").rename(exported / "onnx" / "model.onnx")
    _, checkpoint = load_checkpoint(exported)
    assert list(checkpoint.sha256) == ["onnx/model.onnx"]


def broken(directory: Path) -> str:
    with pytest.raises(ModelError) as error:
        load_checkpoint(directory)
    return str(error.value)


def test_unusable_files(tmp_path: Path) -> None:
    exported = export(family("bert").tiny()[0], tmp_path)
    file = exported / "model.onnx"
    sound = file.read_bytes()
    file.write_bytes(sound[: len(sound) // 2])
    assert "not a readable ONNX file" in broken(exported)

    model = onnx.load_from_string(sound)
    model.graph.node.append(helper.make_node("DequantizeLinear", ["a", "b"], ["c"]))
    onnx.save(model, file)
    assert "quantized already; export it in float" in broken(exported)

    model = onnx.load_from_string(sound)
    model.graph.node.append(helper.make_node("Attention", ["a", "b"], ["c"], domain="com.microsoft"))
    onnx.save(model, file)
    assert "optimized for ONNX Runtime; use the export before that step" in broken(exported)


def test_unknown_structure(tmp_path: Path) -> None:
    """Names lost, and an attention without its second product."""
    exported = export(family("bert").tiny()[0], tmp_path)
    lose_names(exported / "model.onnx")
    model = onnx.load(exported / "model.onnx")
    kinds = [node.op_type for node in model.graph.node]
    del model.graph.node[len(kinds) - 1 - kinds[::-1].index("Softmax") + 1 :]
    onnx.save(model, exported / "model.onnx")
    assert "names of weights were lost" in broken(exported)
