"""Lowered encoders: the runtime computes what the oracle does, and that is near the floats."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from oracle import program as oracle
from pyqrt import ops
from pyqrt.nn import Encoder
from pyqrt.quantize.api import quantize_encoder
from pyqrt.quantize.gate import compare, float_outputs, integer_outputs
from pyqrt.quantize.recipe import read_recipe
from pyqrt.runtime.format import ModelFile
from pyqrt.runtime.model import Model
from tiny_encoders import mixed_lengths, packed, random_sequences, rows_of, tiny_configurations, tiny_encoder

CONFIGURATIONS = tiny_configurations()


RECIPES = ("default", "ibert")


@cache
def quantized(name: str, number: int, recipe: str = "default") -> tuple[Encoder, ModelFile]:
    encoder = tiny_encoder(name, number)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 32))
    return encoder, quantize_encoder(encoder, sequences, read_recipe(recipe))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("name", "number"), CONFIGURATIONS)
def test_every_variant_equals_the_oracle(name: str, number: int, recipe: str) -> None:
    encoder, file = quantized(name, number, recipe)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 4), seed=1)
    outputs = oracle.run(file.program, file.tensors, [s.ids for s in sequences], [s.types for s in sequences])
    (expected,) = outputs.values()
    for variant in ops.variants("linear"):
        values, _ = Model(file, isa=variant).run([s.ids for s in sequences], [s.types for s in sequences])
        actual = np.concatenate([np.atleast_2d(rows) for rows in values])
        np.testing.assert_array_equal(actual, np.asarray(expected, dtype=np.int64), err_msg=variant)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("name", "number"), CONFIGURATIONS)
def test_the_oracle_proves_every_bit_budget(name: str, number: int, recipe: str) -> None:
    _, file = quantized(name, number, recipe)
    oracle.prove(file.program, file.tensors)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("name", "number"), CONFIGURATIONS)
def test_integers_stand_near_the_floats(name: str, number: int, recipe: str) -> None:
    encoder, file = quantized(name, number, recipe)
    unseen = random_sequences(encoder, mixed_lengths(encoder, 16), seed=2)
    comparison = compare(
        encoder.config.head, float_outputs(encoder, unseen), integer_outputs(Model(file), unseen)
    )
    assert comparison.relative_error < 0.06, comparison


def test_the_recipe_reaches_every_polynomial() -> None:
    _, file = quantized("bert", 0, "ibert")
    fused = [n for n in file.program.nodes if n.op == "attention" or "gelu_shift" in n.attributes]
    assert len(fused) == 4
    assert {n.attributes["polynomial"] for n in fused} == {"ibert"}


def test_output_rows_belong_to_their_sequences() -> None:
    encoder, file = quantized("bert", 6)  # token classification
    sequences = random_sequences(encoder, [3, 1, 5], seed=3)
    together, _ = Model(file).run([s.ids for s in sequences])
    _, offsets, _ = packed(sequences)
    for alone, rows in zip(sequences, rows_of(np.concatenate(together), offsets, "tokens"), strict=True):
        np.testing.assert_array_equal(Model(file).run([alone.ids]).values[0], rows)


def test_lowering_is_deterministic() -> None:
    encoder = tiny_encoder("bert", 1)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 8))
    first, second = quantize_encoder(encoder, sequences), quantize_encoder(encoder, sequences)
    assert first.program == second.program
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        assert tensor.tobytes() == second.tensors[name].tobytes(), name
