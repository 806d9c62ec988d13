"""Exported ONNX encoders as checkpoints: the very weights of the original, names kept or lost."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers_reference import load_reference, save_tiny

import onnx
from onnx import helper, numpy_helper
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


def test_name_that_ends_others(tmp_path: Path) -> None:
    """The last norm is LayerNorm, which names of all other norms end with."""
    assert_same(tmp_path / "original", export(family("roberta-prelayernorm").tiny()[0], tmp_path))


def test_name_of_two_constants(tmp_path: Path) -> None:
    exported = export(family("bert").tiny()[0], tmp_path)
    model = onnx.load(exported / "model.onnx")
    norm = next(t for t in model.graph.initializer if t.name == "model.embeddings.LayerNorm.weight")
    second = numpy_helper.from_array(2 * numpy_helper.to_array(norm), "second.embeddings.LayerNorm.weight")
    model.graph.initializer.append(second)
    onnx.save(model, exported / "model.onnx")
    message = f"{norm.name} and {second.name} may both be embeddings.LayerNorm.weight"
    assert message in broken(exported)


def test_bias_of_two_layers(tmp_path: Path) -> None:
    """As exporters leave it that keep one of several equal constants: it names neither layer."""
    exported = export(family("bert").tiny()[0], tmp_path)
    attention = "encoder.layer.0.attention.self"
    biases = [f"{attention}.{role}.bias" for role in ("query", "key")]
    tensors = load_file(tmp_path / "original" / "model.safetensors")
    save_file(tensors | {biases[1]: tensors[biases[0]].clone()}, tmp_path / "original" / "model.safetensors")
    model = onnx.load(exported / "model.onnx")
    for node in model.graph.node:
        node.input[:] = [f"model.{biases[0]}" if i == f"model.{biases[1]}" else i for i in node.input]
    kept = [tensor for tensor in model.graph.initializer if tensor.name != f"model.{biases[1]}"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, exported / "model.onnx")
    assert_same(tmp_path / "original", exported)


def shared_layers(directory: Path) -> Path:
    """ALBERT whose first two of three layers share weights, names lost."""
    exported = export(family("albert").tiny()[4], directory)
    lose_names(exported / "model.onnx")
    return exported


def test_shared_layers(tmp_path: Path) -> None:
    assert_same(tmp_path / "original", shared_layers(tmp_path))


def test_shared_layers_that_differ(tmp_path: Path) -> None:
    exported = shared_layers(tmp_path)
    model = onnx.load(exported / "model.onnx")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in constants]
    query = constants[products[1].input[1]]  # behind the projection of the embeddings
    model.graph.initializer.append(numpy_helper.from_array(2 * numpy_helper.to_array(query), "doubled"))
    products[1].input[1] = "doubled"
    onnx.save(model, exported / "model.onnx")
    assert "should have the same layers.0.attention.query.weight differ" in broken(exported)


def test_other_number_of_layers(tmp_path: Path) -> None:
    exported = export(family("bert").tiny()[0], tmp_path)
    lose_names(exported / "model.onnx")
    config = json.loads((exported / "config.json").read_text())
    config["num_hidden_layers"] -= 1
    (exported / "config.json").write_text(json.dumps(config))
    assert "it has 2 attentions, by config.json there are 1" in broken(exported)


def test_decoder_of_its_own(tmp_path: Path) -> None:
    """LUKE's checkpoints may do without one, which means the word embeddings; a graph has it."""
    exported = export(family("luke").tiny()[4], tmp_path)
    assert_same(tmp_path / "original", exported)
    model = onnx.load(exported / "model.onnx")
    (decoder,) = (node for node in model.graph.node if "model.lm_head.bias" in node.input)
    (product,) = (node for node in model.graph.node if node.output[0] in decoder.input)
    product.op_type = "Mul"
    onnx.save(model, exported / "model.onnx")
    assert "lm_head.decoder.weight was lost in the export" in broken(exported)


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


def test_weights_in_a_file_beside(tmp_path: Path) -> None:
    exported = export(family("bert").tiny()[0], tmp_path)
    model = onnx.load(exported / "model.onnx")
    onnx.save(model, exported / "model.onnx", save_as_external_data=True, location="model.onnx_data")
    assert_same(tmp_path / "original", exported)
    data = exported / "model.onnx_data"
    content = data.read_bytes()
    data.unlink()
    message = broken(exported)
    assert "model.onnx: its weights are in a file beside it that cannot be read" in message
    assert "model.onnx_data" in message
    data.write_bytes(content[:-8])
    assert "model.onnx: its weights are in a file beside it that cannot be read" in broken(exported)


@pytest.mark.parametrize(("option", "value"), [("alpha", 0.5), ("beta", 2.0), ("transA", 1)])
def test_gemm_that_is_no_linear_layer(option: str, value: float, tmp_path: Path) -> None:
    exported = export(family("bert").tiny()[3], tmp_path)
    model = onnx.load(exported / "model.onnx")
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    kept = [attribute for attribute in gemm.attribute if attribute.name != option]
    del gemm.attribute[:]
    gemm.attribute.extend([*kept, helper.make_attribute(option, value)])
    onnx.save(model, exported / "model.onnx")
    assert f"{option} of a Gemm is {value:g}; implemented is" in broken(exported)


def test_unknown_structure(tmp_path: Path) -> None:
    """Names lost, and an attention without its second product."""
    exported = export(family("bert").tiny()[0], tmp_path)
    lose_names(exported / "model.onnx")
    model = onnx.load(exported / "model.onnx")
    kinds = [node.op_type for node in model.graph.node]
    del model.graph.node[len(kinds) - 1 - kinds[::-1].index("Softmax") + 1 :]
    onnx.save(model, exported / "model.onnx")
    assert "names of weights were lost" in broken(exported)
