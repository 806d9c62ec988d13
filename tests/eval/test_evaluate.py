"""`evaluate` and `pyqrt eval` from files to scores, beside a float checkpoint made here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import pyqrt
from pyqrt.cli import app
from pyqrt.errors import ModelError
from pyqrt.eval import evaluate
from pyqrt.eval.metrics import ACCURACY, PEARSON, SPEARMAN
from pyqrt.eval.predict import float_run, integer_run
from pyqrt.quantize.api import quantize_checkpoint
from pyqrt.quantize.checkpoint import load_checkpoint
from tiny_checkpoint import checkpoint

WORDS = ["a", "b", "a cab", "bean", "e e e", "a b c d", "cab bean", "x", "bad deed", "e"]


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny embedding checkpoint and the model file made of it."""
    folder = tmp_path_factory.mktemp("pair")
    source = checkpoint(folder / "bert")
    quantize_checkpoint(source, folder / "model.qrt", progress=False)
    return source, folder / "model.qrt"


def similar(folder: Path) -> Path:
    lines = [f"{a}\t{b}\t{i % 6}.5" for i, (a, b) in enumerate(zip(WORDS, reversed(WORDS), strict=True))]
    path = folder / "stsb.tsv"
    path.write_text("\n".join(["sentence1\tsentence2\tscore", *lines]) + "\n")
    return path


def classes(folder: Path) -> Path:
    path = folder / "mnli.tsv"
    lines = [f"{word}\tanna\t{i % 3}" for i, word in enumerate(WORDS)]
    path.write_text("\n".join(["premise\thypothesis\tlabel", *lines]) + "\n")
    return path


NAMES = ["entailment", "neutral", "contradiction"]


def test_scores_are_those_of_the_models_own_results(folder: Path, tmp_path: Path) -> None:
    model = pyqrt.load(folder / "three.qrt")
    result = evaluate(model, "mnli", classes(tmp_path), labels=NAMES)
    predicted = [("no", "maybe", "yes").index(item.label) for item in model(WORDS, ["anna"] * len(WORDS))]
    rows = np.array([(i % 3, label) for i, label in enumerate(predicted)], float)
    (score,) = result.scores
    assert (score.metric, score.integer.value) == ("accuracy", ACCURACY.value(rows))
    assert score.integer.low <= score.integer.value <= score.integer.high
    assert (score.float, score.difference) == (None, None)
    assert (result.examples, result.truncated, result.checkpoint) == (10, 0, None)


def test_scores_depend_on_no_batch_and_no_thread(folder: Path, tmp_path: Path) -> None:
    data = classes(tmp_path)
    path = folder / "three.qrt"
    results = [
        evaluate(path, "mnli", data, labels=NAMES, batch=batch, threads=threads)
        for batch, threads in ((1, 1), (3, 2), (32, 1))
    ]
    assert results[0] == results[1] == results[2]
    assert evaluate(path, "mnli", data, labels=NAMES, limit=4).examples == 4


def test_a_regression_head_gives_its_value(folder: Path, tmp_path: Path) -> None:
    result = evaluate(folder / "value.qrt", "stsb", similar(tmp_path), resamples=20)
    model = pyqrt.load(folder / "value.qrt")
    values = [item.score for item in model(WORDS, WORDS[::-1])]
    rows = np.array([(i % 6 + 0.5, value) for i, value in enumerate(values)])
    assert [(score.metric, score.integer.value) for score in result.scores] == [
        ("Pearson", PEARSON.value(rows)),
        ("Spearman", SPEARMAN.value(rows)),
    ]


def test_the_float_checkpoint_is_scored_beside(pair: tuple[Path, Path], tmp_path: Path) -> None:
    source, path = pair
    data = similar(tmp_path)
    result = evaluate(path, "stsb", data, checkpoint=source, resamples=50)
    assert [score.metric for score in result.scores] == ["Spearman", "Pearson"]
    pearson = result.scores[1]
    assert pearson.float is not None
    assert pearson.difference is not None
    assert pearson.difference.value == pearson.integer.value - pearson.float.value
    assert 0.0 < abs(pearson.difference.value) < 0.05
    alone = evaluate(path, "stsb", data, resamples=50)
    assert [score.integer for score in alone.scores] == [score.integer for score in result.scores]
    assert json.loads(json.dumps(result.to_dict()))["scores"][1]["float"]["value"] == pearson.float.value


def test_the_float_run_is_the_encoder(pair: tuple[Path, Path]) -> None:
    source, path = pair
    model = pyqrt.load(path)
    encoder, _ = load_checkpoint(source)
    ids = [np.array([1, 5, 9], np.int32), np.array([3], np.int32)]
    values, scale = float_run(source, model)(ids, [np.zeros_like(row) for row in ids])
    import torch

    with torch.inference_mode():
        expected = encoder(torch.tensor([1, 5, 9, 3]), [0, 3, 4])
    assert scale == 1.0
    np.testing.assert_array_equal(values, expected.numpy())


@pytest.mark.parametrize("pooling", ["cls", "last", "max"])
def test_the_float_run_pools_as_the_model_file_does(
    pair: tuple[Path, Path], tmp_path: Path, pooling: str
) -> None:
    source, path = pair[0], tmp_path / "model.qrt"
    quantize_checkpoint(source, path, pooling=pooling, progress=False)
    model = pyqrt.load(path)
    ids = [np.array([1, 5, 9, 3, 8], np.int32)]
    types = [np.zeros_like(ids[0])]
    (expected,), _ = float_run(source, model)(ids, types)
    (actual,), scale = integer_run(model)(ids, types)
    assert expected @ (actual * scale) > 0.99
    (mean,), _ = float_run(source, pyqrt.load(pair[1]))(ids, types)
    assert expected @ mean < 0.95


@pytest.mark.parametrize(("number", "message"), [(3, "labels of"), (2, "vocabulary of")])
def test_another_checkpoint_is_refused(
    pair: tuple[Path, Path], folder: Path, tmp_path: Path, number: int, message: str
) -> None:
    other = checkpoint(tmp_path / "other", number)
    if number == 3:
        with pytest.raises(ModelError, match=message):
            evaluate(folder / "two.qrt", "sst2", _sst2(tmp_path), checkpoint=other)
    else:
        with pytest.raises(ModelError, match=message):
            evaluate(pair[1], "stsb", similar(tmp_path), checkpoint=other)


def _sst2(folder: Path, *lines: str) -> Path:
    path = folder / "sst2.tsv"
    path.write_text("\n".join(["sentence\tlabel", *(lines or ("a\t1",))]) + "\n")
    return path


def test_long_texts_are_refused_or_cut_and_counted(folder: Path, tmp_path: Path) -> None:
    data = _sst2(tmp_path, "a\t1", "b " * 40 + "\t0", "a\t0")
    with pytest.raises(
        ModelError, match=r"sst2.tsv, in the batch from example 1: text 1 has 42 tokens.*--truncate"
    ):
        evaluate(folder / "two.qrt", "sst2", data)
    assert evaluate(folder / "two.qrt", "sst2", data, truncate=True, resamples=1).truncated == 1


@pytest.mark.parametrize("name", ["limit", "resamples", "batch"])
def test_counts_start_at_one(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} is 0; it must be at least 1"):
        evaluate(folder / "two.qrt", "sst2", _sst2(tmp_path), **{name: 0})  # type: ignore[arg-type]


def test_a_seed_is_not_negative(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="seed is -1; it must be at least 0"):
        evaluate(folder / "two.qrt", "sst2", _sst2(tmp_path), seed=-1)


@pytest.mark.parametrize("labels", [[1, 0], np.array([1, 0]), "10"])
def test_labels_are_names(folder: Path, tmp_path: Path, labels: Any) -> None:
    data = _sst2(tmp_path)
    with pytest.raises(ModelError, match="give a list of names, one for each label"):
        evaluate(folder / "two.qrt", "sst2", data, labels=labels)
    names = ["positive", "negative"]
    told = evaluate(folder / "two.qrt", "sst2", data, labels=names, resamples=1)
    assert evaluate(folder / "two.qrt", "sst2", data, labels=np.array(names), resamples=1) == told
    with pytest.raises(ModelError, match=r"labels is \[\]; give one name for each of the model's 2 labels"):
        evaluate(folder / "two.qrt", "sst2", data, labels=[])


def command(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["eval", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_a_table_and_writes_json(pair: tuple[Path, Path], tmp_path: Path) -> None:
    source, path = pair
    data, report = similar(tmp_path), tmp_path / "report.json"
    arguments = (path, "--task", "stsb", "--data", data, "--checkpoint", source, "--json", report)
    code, table, _ = command(*arguments, "--resamples", 20)
    assert code == 0
    written = json.loads(report.read_text())
    assert written == evaluate(path, "stsb", data, checkpoint=source, resamples=20).to_dict()
    for name in ("integers", "floats", "integers - floats", "Spearman", "Pearson", "10 examples"):
        assert name in table
    assert f"{written['scores'][0]['integer']['value']:.4f}" in table
    assert "floats" not in command(path, "--task", "stsb", "--data", data, "--resamples", 1)[1]


def test_the_command_tells_errors_in_one_line(folder: Path, tmp_path: Path) -> None:
    data = _sst2(tmp_path, "a\t5")
    code, _, line = command(folder / "two.qrt", "--task", "sst2", "--data", data)
    assert code == 1
    assert line.splitlines()[-1].endswith("the label '5' is none of the task's: negative, positive, 0, 1")
    code, _, line = command(folder / "two.qrt", "--task", "imdb", "--data", data)
    assert (code, "known: sst2" in line) == (1, True)
    told = ("--labels", "positive,negative", "--resamples", 1)
    code, _, _ = command(folder / "two.qrt", "--task", "sst2", "--data", _sst2(tmp_path), *told)
    assert code == 0
    code, _, line = command(folder / "two.qrt", "--task", "sst2", "--data", _sst2(tmp_path), "--labels", "")
    assert (code, "labels is ['']; give one name for each" in line) == (1, True)


def test_without_a_checkpoint_torch_is_not_imported(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pyqrt.eval import evaluate; "
        f"evaluate({str(folder / 'two.qrt')!r}, 'sst2', {str(_sst2(tmp_path))!r}, resamples=1); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
