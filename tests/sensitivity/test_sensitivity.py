"""The ranking finds what costs most, and the proposal spends 16 bits there and loses less."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import pyqrt
from pyqrt.bench.work import multiply_accumulates
from pyqrt.cli import app
from pyqrt.errors import ModelError
from pyqrt.grids import Grid, Scales
from pyqrt.lower import lower_with_taps
from pyqrt.nn import Encoder
from pyqrt.quantize.api import calibrate, lower_to_file, quantize_encoder
from pyqrt.quantize.choose import wide_choices
from pyqrt.quantize.recipe import read_recipe
from pyqrt.quantize.texts import Encoded
from pyqrt.runtime.model import Model
from pyqrt.sensitivity.api import analyse
from pyqrt.sensitivity.measure import Losses, Node, Quantized, integer_loss, measure
from pyqrt.sensitivity.propose import Option, chosen, second_planes, with_wide
from pyqrt.sensitivity.report import files_to_write
from tiny_checkpoint import checkpoint
from tiny_encoders import mixed_lengths, random_sequences, tiny_configurations, tiny_encoder

SPEED = read_recipe("speed")


def texts(encoder: Encoder, count: int, seed: int = 0) -> list[Encoded]:
    return random_sequences(encoder, mixed_lengths(encoder, count), seed)


def coarse(grid: Grid, times: int) -> Grid:
    return replace(grid, scale=grid.scale * times, zero_point=grid.zero_point // times)


def losses_with(
    encoder: Encoder, grids: dict[str, int], wide: dict[str, int] | None = None, weight: str | None = None
) -> Losses:
    """Losses of an encoder where some tensors' steps are so many times what they should be."""
    rounded, scales, statistics = calibrate(encoder, texts(encoder, 12), SPEED)
    scales = Scales(
        grids=scales.grids | {name: coarse(scales.grids[name], times) for name, times in grids.items()},
        wide=scales.wide | {name: scales.wide[name] * times for name, times in (wide or {}).items()},
    )
    if weight is not None:  # a bit and its sign
        rounded = copy.deepcopy(rounded)
        values = rounded.get_submodule(weight).weight.data
        values.copy_(values.sign() * values.abs().max())
    lowered = lower_with_taps(rounded, scales)
    return measure(Quantized(encoder, rounded, scales, lowered, statistics), texts(encoder, 8, 1))


@pytest.mark.parametrize(
    "name", ["layers.0.attention.value", "layers.1.ffn.activation", "layers.0.attention.output"]
)
def test_a_coarse_int8_tensor_ranks_first(name: str) -> None:
    first = losses_with(tiny_encoder(), {name: 100}).ranked()[0]
    assert first.node == Node(name, "int8")
    assert first.all_but < first.alone


def test_a_coarse_int16_tensor_ranks_first_and_its_int8_form_does_not() -> None:
    ranked = losses_with(tiny_encoder(), {}, {"layers.0.attention.output": 20000}).ranked()
    assert ranked[0].node == Node("layers.0.attention.output", "int16")


def test_a_coarse_weight_ranks_first() -> None:
    ranked = losses_with(tiny_encoder(), {}, weight="layers.1.ffn.down").ranked()
    assert ranked[0].node == Node("layers.1.ffn.down.weight", "weight")


@pytest.mark.parametrize(
    ("name", "number"), [(n, i) for n, i in tiny_configurations() if i == 0 or n == "bert"]
)
def test_all_rounded_is_nearly_what_the_integers_give(name: str, number: int) -> None:
    encoder = tiny_encoder(name, number)
    rounded, scales, statistics = calibrate(encoder, texts(encoder, 12), SPEED)
    unseen = texts(encoder, 12, 1)
    quantized = Quantized(encoder, rounded, scales, lower_with_taps(rounded, scales), statistics)
    simulated = measure(quantized, unseen).total
    real = integer_loss(encoder, Model(lower_to_file(rounded, scales)), unseen)
    assert simulated == pytest.approx(real, rel=0.2)


@pytest.mark.parametrize(("name", "number"), [(n, i) for n, i in tiny_configurations() if i == 0])
def test_every_tensor_that_may_be_wide_can_be_and_costs_what_is_told(name: str, number: int) -> None:
    encoder = tiny_encoder(name, number)
    seen, plain = texts(encoder, 12), replace(read_recipe("plain"), wide_noise=float("inf"))
    scales = calibrate(encoder, seen, plain).scales
    narrow = quantize_encoder(encoder, seen, plain).program
    names = [n for n in wide_choices(encoder) if n in scales.grids]
    wide = quantize_encoder(encoder, seen, with_wide(plain, names))
    difference = multiply_accumulates(wide.program, [5], planes=True) - multiply_accumulates(
        narrow, [5], planes=True
    )
    assert difference == sum(second_planes(encoder, n, 5) for n in names) > 0


def test_the_proposal_lowers_the_loss_within_the_budget() -> None:
    encoder = tiny_encoder()
    result = analyse(encoder, texts(encoder, 24), texts(encoder, 24, 1), SPEED, budget=30.0)
    assert result.chosen
    assert result.proposed.recipe.wide == tuple(option.name for option in result.chosen)
    assert result.proposed.loss < result.given.loss
    assert 0 < result.extra <= 0.3
    assert (result.ranked_on, result.verified_on) == (12, 12)
    again = analyse(encoder, texts(encoder, 24), texts(encoder, 24, 1), SPEED, budget=30.0)
    assert again == result


def test_without_a_budget_nothing_is_proposed() -> None:
    encoder = tiny_encoder()
    result = analyse(encoder, texts(encoder, 8), texts(encoder, 4, 1), SPEED, budget=0.0)
    assert result.chosen == []
    assert result.extra == 0
    assert result.proposed.loss == result.given.loss


def test_most_gain_for_the_cost_is_chosen_first_and_chance_is_not() -> None:
    found = [Option("a", 0.3, 10), Option("b", 0.2, 2), Option("c", 0.01, 1), Option("d", 0.1, 8)]
    assert [o.name for o in chosen(found, 1.0, 12)] == ["a", "b"]
    assert [o.name for o in chosen(found, 1.0, 11)] == ["b", "d"]
    assert chosen(found, 1.0, 1) == []


@pytest.mark.parametrize(
    ("options", "count", "message"),
    [
        ({"texts": 0}, 4, "texts is 0"),
        ({"budget": -1.0}, 4, r"budget is -1.0; it must lie in \[0, 100\]"),
        ({"budget": float("nan")}, 4, "budget is nan"),
        ({}, 1, "calibrate on 16 texts or more"),
    ],
)
def test_bad_options_are_refused(options: dict[str, float], count: int, message: str) -> None:
    encoder = tiny_encoder()
    with pytest.raises(ModelError, match=message):
        analyse(encoder, texts(encoder, 4), texts(encoder, count), SPEED, **options)  # type: ignore[arg-type]


def test_the_command_writes_a_recipe_that_quantize_takes(tmp_path: Path) -> None:
    source, folder = checkpoint(tmp_path / "bert"), tmp_path / "found"
    run = CliRunner().invoke(app, ["sensitivity", str(source), "-o", str(folder), "--budget", "60"])
    assert run.exit_code == 0, run.stderr
    assert "proposed" in run.stdout
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ["sensitivity.json", "sensitivity.csv", "sensitivity.md", "sensitivity.png", "recipe.toml"]
    )
    found = json.loads((folder / "sensitivity.json").read_text())
    with (folder / "sensitivity.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["tensor"] for row in table] == [node["tensor"] for node in found["nodes"]]
    alone = [node["loss_alone"] for node in found["nodes"]]
    np.testing.assert_array_equal(alone, sorted(alone, reverse=True))
    assert (folder / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    model, recipe = tmp_path / "model.qrt", folder / "recipe.toml"
    done = CliRunner().invoke(app, ["quantize", str(source), "-o", str(model), "--recipe", str(recipe)])
    assert done.exit_code == 0, done.stderr
    used = pyqrt.load(model).provenance["recipe"]
    assert used == {"name": "recipe", **found["proposed"]["recipe"]}
    assert used["wide"]


def test_one_file_is_told_by_its_suffix(tmp_path: Path) -> None:
    assert files_to_write(tmp_path / "a.svg") == [tmp_path / "a.svg"]
    for bad in (tmp_path / "a.pdf", tmp_path / "none" / "a.csv"):
        with pytest.raises(ModelError, match=r"must end in|there is no directory"):
            files_to_write(bad)


def test_without_matplotlib_there_is_no_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyqrt.sensitivity.report.find_spec", lambda name: None)
    assert all(path.suffix != ".png" for path in files_to_write(tmp_path))
    run = CliRunner().invoke(app, ["sensitivity", str(tmp_path), "-o", str(tmp_path / "a.png")])
    assert run.exit_code == 1
    assert "pip install 'pyqrt[plot]'" in run.stderr
