"""Tiny float encoders whose every weight is the same on every machine, and batches for them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from pyqrt.grids import Grid, Scales
from pyqrt.lower import lower
from pyqrt.models import families, family
from pyqrt.nn import Encoder
from pyqrt.nn.activations import is_gelu
from pyqrt.program import Program
from pyqrt.quantize.texts import Encoded

# What today's transformers has no longer, so that it cannot be in families' tiny configurations, which are
# compared with it: the number of one of them, and what is different.
_FORMER: dict[str, list[tuple[int, dict[str, Any]]]] = {
    "bert": [(1, {"position_embedding_type": kind}) for kind in ("relative_key", "relative_key_query")],
    "albert": [(0, {"position_embedding_type": "relative_key_query"})],
    "roberta": [(0, {"position_embedding_type": "relative_key"})],
}


def tiny(name: str) -> list[dict[str, Any]]:
    """A family's tiny configurations, and some with options of former versions of transformers."""
    configurations = family(name).tiny()
    return configurations + [configurations[i] | former for i, former in _FORMER.get(name, [])]


def tiny_configurations() -> list[tuple[str, int]]:
    """(family, number of its tiny configuration) of every family there is."""
    return [(name, i) for name in families() for i in range(len(tiny(name)))]


def tiny_encoder(name: str = "bert", number: int = 0, seed: int = 0) -> Encoder:
    """A family's tiny configuration with random weights in [-0.25, 0.25], gains around 1."""
    described_by = family(name)
    encoder = Encoder(described_by.configure(tiny(name)[number], None)).eval()
    random = np.random.RandomState(seed)
    with torch.no_grad():
        for key, parameter in encoder.named_parameters():
            values = random.randint(-1024, 1025, tuple(parameter.shape)) / 4096.0
            is_gain = key.endswith("norm.weight")
            parameter.copy_(torch.from_numpy(values) + (1.0 if is_gain else 0.0))
    return encoder


def random_sequences(encoder: Encoder, lengths: list[int], seed: int = 0) -> list[Encoded]:
    """Random ids and types of the given lengths."""
    config, random = encoder.config, np.random.RandomState(seed)
    return [
        Encoded(
            random.randint(0, config.vocab_size, n).tolist(),
            random.randint(0, max(config.type_vocab_size, 1), n).tolist(),
        )
        for n in lengths
    ]


def mixed_lengths(encoder: Encoder, count: int) -> list[int]:
    """Lengths from 1 to the most the encoder takes, evenly."""
    most = encoder.config.max_length
    return [1 + i * (most - 1) // max(count - 1, 1) for i in range(count)]


def plain_scales(encoder: Encoder) -> Scales:
    """Scales that no calibration made: powers of two, wide enough for `tiny_encoder`'s values."""
    config = encoder.config
    one = np.ones(config.hidden_size)
    stream = Grid(one * 2.0**-5, one * 0.0, 3)
    projected = Grid(one * 2.0**-5, one * 0.0, 0)
    inner = Grid(np.ones(config.intermediate_size) * 2.0**-5, np.zeros(config.intermediate_size), -100)
    grids, wide = {}, {}
    for tap in encoder.taps():
        kind = tap.rsplit(".", 1)[-1]
        wide[tap] = 2.0**-11
        if kind in ("query", "key", "value", "context", "relative_key", "relative_query"):
            grids[tap] = projected
        elif kind == "activation" and tap.startswith("layers.") and is_gelu(config.hidden_act):
            grids[tap] = inner
        elif kind == "output" and not tap.startswith("head."):
            grids[tap] = stream
    last = f"layers.{config.num_hidden_layers - 1}.ffn.output"
    del grids[last]
    return Scales(grids, wide)


def tiny_program(number: int = 0) -> tuple[Program, dict[str, np.ndarray]]:
    """The program of a tiny BERT at plain scales: no calibration, no float sums of many terms."""
    encoder = tiny_encoder("bert", number)
    return lower(encoder, plain_scales(encoder))


def packed(sequences: list[Encoded]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids, offsets, types as int32, for a session."""
    ids = np.array([i for s in sequences for i in s.ids], np.int32)
    types = np.array([t for s in sequences for t in s.types], np.int32)
    offsets = np.array([0, *accumulate(len(s.ids) for s in sequences)], np.int32)
    return ids, offsets, types


def rows_of(values: np.ndarray, offsets: np.ndarray, rows: str) -> Iterator[np.ndarray]:
    """The output rows of each sequence."""
    for s in range(len(offsets) - 1):
        yield values[s : s + 1] if rows == "sequences" else values[offsets[s] : offsets[s + 1]]
