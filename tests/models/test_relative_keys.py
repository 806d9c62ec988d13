"""Relative positions of transformers up to its version 4, which it has no longer: BERT computed anew."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.nn import Encoder
from pyqrt.quantize.checkpoint import load_checkpoint

TOLERANCE = 1e-5
HEADS, WIDTH, POSITIONS, LAYERS = 3, 39, 12, 2
KINDS = ("relative_key", "relative_key_query")


def checkpoint(directory: Path, model_type: str, kind: str) -> Path:
    """Random weights under the names of `model_type`, and an absolute table, as transformers wrote them."""
    described_by = family(model_type)
    prefix = {"bert": "Bert", "roberta": "Roberta", "albert": "Albert", "electra": "Electra"}[model_type]
    hf: dict[str, Any] = {
        "model_type": model_type,
        "architectures": [f"{prefix}Model"],
        "hidden_size": WIDTH,
        "embedding_size": WIDTH,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "intermediate_size": 20,
        "vocab_size": 30,
        "type_vocab_size": 2,
        "max_position_embeddings": POSITIONS,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
        "pad_token_id": 0,
        "position_embedding_type": kind,
    }
    config = described_by.configure(hf, None)
    sources = described_by.parameters(config)
    torch.manual_seed(3)
    weights = {
        sources[name].names[0]: 0.3 * torch.randn(parameter.shape) + name.endswith("norm.weight")
        for name, parameter in Encoder(config).named_parameters()
    }
    weights["embeddings.position_embeddings.weight"] = torch.randn(POSITIONS, WIDTH)
    directory.mkdir()
    save_file(weights, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(hf))
    return directory


def expected(directory: Path, ids: Tensor, types: Tensor, kind: str) -> Tensor:
    """The mean of BERT's last states of one text, of length 1."""
    w = load_file(directory / "model.safetensors")

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    n, d = len(ids), WIDTH // HEADS
    place = torch.arange(n)
    distance = place[:, None] - place[None, :] + POSITIONS - 1
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][types]
    x = norm("embeddings.LayerNorm", x)
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}.attention"
        query, key, value = (
            linear(f"{name}.self.{part}", x).reshape(n, HEADS, d) for part in ("query", "key", "value")
        )
        rows = w[f"{name}.self.distance_embedding.weight"][distance]  # [n, n, d]
        scores = torch.einsum("lhd,rhd->hlr", query, key) + torch.einsum("lhd,lrd->hlr", query, rows)
        if kind == "relative_key_query":
            scores = scores + torch.einsum("rhd,lrd->hlr", key, rows)
        context = torch.einsum("hlr,rhd->lhd", (scores / d**0.5).softmax(-1), value).reshape(n, WIDTH)
        x = norm(f"{name}.output.LayerNorm", linear(f"{name}.output.dense", context) + x)
        inner = functional.gelu(linear(f"encoder.layer.{layer}.intermediate.dense", x))
        x = norm(
            f"encoder.layer.{layer}.output.LayerNorm",
            linear(f"encoder.layer.{layer}.output.dense", inner) + x,
        )
    return functional.normalize(x.mean(0, keepdim=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_type", ["bert", "roberta", "electra"])
def test_equals_the_formulas(tmp_path: Path, model_type: str, kind: str) -> None:
    encoder, _ = load_checkpoint(checkpoint(tmp_path / "model", model_type, kind))
    longest = encoder.config.max_length
    offsets = [0, 1, 1 + longest, 4 + longest]
    generator = torch.Generator().manual_seed(1)
    ids, types = (torch.randint(1, high, (offsets[-1],), generator=generator) for high in (30, 2))
    with torch.no_grad():
        ours = encoder(ids, offsets, types)
        theirs = [expected(tmp_path / "model", ids[a:b], types[a:b], kind) for a, b in pairwise(offsets)]
    assert (ours - torch.cat(theirs)).abs().max() < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_albert_has_a_table_for_each_set_of_weights(tmp_path: Path, kind: str) -> None:
    encoder, _ = load_checkpoint(checkpoint(tmp_path / "model", "albert", kind))
    names = [name for name, _ in encoder.named_parameters() if name.endswith("distances.weight")]
    assert names == ["layers.0.attention.distances.weight"]


@pytest.mark.parametrize(("model_type", "kind"), [("bert", "relative"), ("roformer", "relative_key")])
def test_what_is_not_known_is_refused(model_type: str, kind: str) -> None:
    hf = family(model_type).tiny()[0] | {"position_embedding_type": kind}
    with pytest.raises(ModelError, match=f"^position_embedding_type is '{kind}'; known: absolute"):
        family(model_type).configure(hf, None)
