"""`quantize_checkpoint` from a directory to a file, on tiny checkpoints made here."""

from __future__ import annotations

from pathlib import Path

import pytest

import pyqrt
from pyqrt.errors import ModelError
from pyqrt.quantize.api import quantize_checkpoint
from tiny_checkpoint import VOCABULARY, checkpoint


def test_bundled_text_calibrates_and_the_file_tells_its_story(tmp_path: Path) -> None:
    report = quantize_checkpoint(checkpoint(tmp_path / "bert"), tmp_path / "model.qrt", progress=False)
    assert report["heldout"]["mean_cosine"] > 0.98
    model = pyqrt.load(tmp_path / "model.qrt")
    assert model.report["heldout"] == report["heldout"]
    assert model.provenance["checkpoint"] == "bert"
    assert model.provenance["family"] == "bert"
    assert model.provenance["recipe"]["name"] == "default"
    assert model.provenance["recipe"]["rounding"] == "gptq"
    assert len(next(iter(model.provenance["checkpoint_sha256"].values()))) == 64
    assert model(["a cab", "bean"]).shape == (2, 32)


def test_the_same_call_gives_the_same_bytes(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "bert", 1)
    for name in ("a.qrt", "b.qrt"):
        quantize_checkpoint(source, tmp_path / name, progress=False)
    assert (tmp_path / "a.qrt").read_bytes() == (tmp_path / "b.qrt").read_bytes()


def test_below_the_gate_nothing_is_written_unless_forced(tmp_path: Path) -> None:
    source, output = checkpoint(tmp_path / "bert"), tmp_path / "model.qrt"
    with pytest.raises(ModelError, match=r"below the gate of 1\.0"):
        quantize_checkpoint(source, output, gate=1.0, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bert"]
    report = quantize_checkpoint(source, output, gate=1.0, force=True, progress=False)
    assert report["forced"]
    assert pyqrt.load(output).report["forced"]


def test_text_of_the_user_is_split_into_calibration_and_held_out(tmp_path: Path) -> None:
    text = tmp_path / "own.txt"
    text.write_text("\n".join(f"a b c d {'e ' * (i % 9)}" for i in range(80)))
    report = quantize_checkpoint(
        checkpoint(tmp_path / "bert"), tmp_path / "model.qrt", calibration=text, progress=False
    )
    assert report["calibration_sequences"] == 70
    assert report["heldout"]["rows"] == 10


def test_without_a_tokenizer_random_ids_calibrate(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "bert", tokenizer=False)
    quantize_checkpoint(source, tmp_path / "model.qrt", progress=False)
    model = pyqrt.load(tmp_path / "model.qrt")
    assert model.tokenizer is None
    assert model.run([[1, 2, 3]]).values.shape == (1, 32)
    text = tmp_path / "own.txt"
    text.write_text("a\nb\n")
    with pytest.raises(ModelError, match="has neither tokenizer"):
        quantize_checkpoint(source, tmp_path / "other.qrt", calibration=text, progress=False)


def test_max_length_is_kept_and_checked(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "bert")
    quantize_checkpoint(source, tmp_path / "model.qrt", max_length=8, progress=False)
    model = pyqrt.load(tmp_path / "model.qrt")
    assert model.limits.max_length == 8
    with pytest.raises(ModelError, match="9 tokens"):
        model.run([[1] * 9])
    with pytest.raises(ModelError, match="positions for 1 to 24 tokens"):
        quantize_checkpoint(source, tmp_path / "other.qrt", max_length=25, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "magic"}, "neither one of default, ibert, plain, speed nor"),
        ({"gate": 1.5}, r"must lie in \[0, 1\]"),
        ({"task": "magic"}, "magic"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        quantize_checkpoint(checkpoint(tmp_path / "bert"), tmp_path / "model.qrt", progress=False, **options)  # type: ignore[arg-type]


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "bert")
    (source / "vocab.txt").write_text("\n".join(VOCABULARY + [f"x{i}" for i in range(99)] + ["calibration"]))
    text = tmp_path / "own.txt"
    text.write_text("calibration\ncalibration\n")
    with pytest.raises(ModelError, match="do not belong together"):
        quantize_checkpoint(source, tmp_path / "model.qrt", calibration=text, progress=False)


def test_token_ids_calibrate_a_checkpoint_without_a_tokenizer(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "bert", tokenizer=False)
    ids = tmp_path / "own.jsonl"
    ids.write_text("\n".join(f'{{"ids": {[(3 * i + j) % 20 for j in range(1 + i % 9)]}}}' for i in range(80)))
    report = quantize_checkpoint(source, tmp_path / "model.qrt", calibration=ids, progress=False)
    assert report["calibration_sequences"] == 70
    assert report["heldout"]["rows"] == 10
    assert report["provenance"]["calibration"] == "own.jsonl"
    ids.write_text('{"ids": [1]}\n{"ids": [4000]}\n')
    with pytest.raises(ModelError, match=r"own.jsonl, line 2: ids\[0\] is 4000"):
        quantize_checkpoint(source, tmp_path / "other.qrt", calibration=ids, progress=False)


@pytest.mark.parametrize("name", ["distilbert", "deberta-v2", "mpnet"])
def test_pairs_calibrate_an_encoder_without_token_types(tmp_path: Path, name: str) -> None:
    """Its tokenizer gives types all the same; transformers drops them."""
    source = checkpoint(tmp_path / name, name=name, task="sequence_classification")
    table = tmp_path / "pairs.tsv"
    table.write_text("sentence1\tsentence2\n" + "a cab\tbean ace\n" * 9, encoding="utf-8")
    for calibration in (None, table):
        quantize_checkpoint(
            source, tmp_path / "model.qrt", calibration=calibration, force=True, progress=False
        )
        model = pyqrt.load(tmp_path / "model.qrt")
        assert model(["a cab"], ["bean"])[0].label in model.task.labels


@pytest.mark.parametrize("count", [2, 16, 20])
def test_few_texts_or_equal_ones_are_enough(tmp_path: Path, count: int) -> None:
    """The covariance of their inputs has directions without any variance, in 8 bits and in 16."""
    texts = tmp_path / "texts.txt"
    texts.write_text("a bean in a cab\nan ace\n" * (count // 2), encoding="utf-8")
    for number in (3, 6):
        source = checkpoint(tmp_path / f"bert-{number}", number)
        quantize_checkpoint(source, tmp_path / "model.qrt", calibration=texts, force=True, progress=False)
