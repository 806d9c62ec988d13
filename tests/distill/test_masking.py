"""Masked words: how they are drawn, and that a student learns them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pyqrt.distill.api import Training, distill_checkpoint, weights_of
from pyqrt.distill.lessons import Reader
from pyqrt.distill.masking import Masking, masked_word_loss
from pyqrt.distill.objective import Weights
from pyqrt.errors import ModelError
from pyqrt.quantize.checkpoint import load_checkpoint
from pyqrt.train.finetune import IGNORED
from tiny_checkpoint import checkpoint

MASKED_LM = 9  # number of a tiny BERT
MASK = 4


def test_a_seventh_is_drawn_most_of_it_masked() -> None:
    torch.manual_seed(0)
    ids = torch.arange(20_000) % 50 + 5
    shown, target = Masking(MASK, {5, 6}, 1000).hide(ids)
    drawn = target != IGNORED
    assert drawn.double().mean().item() == pytest.approx(0.15 * 48 / 50, rel=0.05)
    assert torch.equal(target[drawn], ids[drawn])
    assert torch.equal(shown[~drawn], ids[~drawn])
    assert not drawn[(ids == 5) | (ids == 6)].any()
    for share, found in ((0.8, shown == MASK), (0.1, shown == ids)):
        assert found[drawn].double().mean().item() == pytest.approx(share, abs=0.03)
    others = shown[drawn & (shown != MASK) & (shown != ids)]
    assert others.min() < 100
    assert others.max() > 900
    torch.manual_seed(0)
    again = Masking(MASK, {5, 6}, 1000).hide(ids)
    assert torch.equal(again[0], shown)
    assert torch.equal(again[1], target)


def test_the_loss_counts_drawn_words_alone() -> None:
    logits = torch.tensor([[0.0, 9.0], [1.0, 3.0], [2.0, 0.0]], requires_grad=True)
    loss = masked_word_loss(logits, torch.tensor([IGNORED, 1, 1]))
    expected = torch.nn.functional.cross_entropy(logits[1:], torch.tensor([1, 1]))
    torch.testing.assert_close(loss, expected)
    assert masked_word_loss(logits, torch.full((3,), IGNORED)).item() == 0.0


def write_rhymes(path: Path) -> Path:
    """Every letter of a line is told by any other."""
    path.write_text("\n".join(" ".join([letter] * 8) for letter in "abcdefgh" * 8) + "\n")
    return path


def named(directory: Path) -> float:
    """Share of masked letters that a checkpoint names."""
    encoder, _ = load_checkpoint(directory)
    hits = []
    for letter in range(5, 13):
        ids = [2, *[letter] * 8, 3]
        ids[4] = MASK
        logits = encoder(torch.tensor(ids), [0, len(ids)])
        hits.append(logits[4].argmax().item() == letter)
    return sum(hits) / len(hits)


def test_a_student_learns_masked_words(tmp_path: Path) -> None:
    teacher, texts = checkpoint(tmp_path / "teacher", MASKED_LM), write_rhymes(tmp_path / "texts.txt")
    training = Training(epochs=25, learning_rate=1e-2, batch=8)
    weights = Weights({"labels": 1.0})
    distill_checkpoint(
        teacher, tmp_path / "student", texts, weights=weights, training=training, progress=False
    )
    assert named(teacher) < 0.3
    assert named(tmp_path / "student") > 0.9


@pytest.mark.parametrize("output", ["student", "student.qrt"])
def test_the_triple_loss_takes_texts_without_labels(tmp_path: Path, output: str) -> None:
    teacher, texts = checkpoint(tmp_path / "teacher", MASKED_LM), write_rhymes(tmp_path / "texts.txt")
    training = Training(epochs=1, integer_epochs=1, batch=8)

    def losses(**terms: float) -> Any:
        report = distill_checkpoint(
            teacher,
            tmp_path / f"{len(list(tmp_path.iterdir()))}{output}",
            texts,
            layers=1,
            weights=weights_of("distilbert", terms),  # type: ignore[arg-type]
            training=training,
            progress=False,
        )
        return report["losses"]

    whole, without = losses(), losses(labels=0.0)
    assert whole["float"][0] > without["float"][0] + 2.0  # twice a loss of about log(61)
    assert losses() == whole


def with_padding(directory: Path, rows: int) -> Path:
    """Gives a checkpoint's vocabulary more ids than its tokenizer has."""
    config = json.loads((directory / "config.json").read_text())
    tensors = load_file(directory / "model.safetensors")
    for name, value in tensors.items():
        if len(value) == config["vocab_size"]:
            tensors[name] = torch.cat([value, value[:rows]])
    config["vocab_size"] += rows
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors")
    return directory


@pytest.mark.parametrize("padded", ["teacher", "student"])
def test_vocabularies_of_different_sizes_share_the_smaller(tmp_path: Path, padded: str) -> None:
    teacher, student = (checkpoint(tmp_path / name, MASKED_LM) for name in ("teacher", "student"))
    with_padding(tmp_path / padded, 19)
    texts = write_rhymes(tmp_path / "texts.txt")
    training = Training(epochs=2, batch=8)
    run = partial(distill_checkpoint, teacher, data=texts, student=student, training=training, progress=False)
    run(tmp_path / "out", weights=weights_of("distilbert", {"result": 0.0}))
    for method in ("result", "distilbert"):
        with pytest.raises(ModelError, match=r"student's result for a token has .* numbers, the teach"):
            run(tmp_path / "other", weights=weights_of(method))


def test_a_mask_that_one_of_the_models_does_not_know_is_refused(tmp_path: Path) -> None:
    _, source = load_checkpoint(directory := checkpoint(tmp_path / "teacher", MASKED_LM))
    reader = Reader(load_checkpoint(directory)[0], source, 16)
    assert reader.masking(MASK + 1).vocab_size == MASK + 1
    with pytest.raises(ModelError, match=f"mask token has the id {MASK}, the smaller vocabulary ends at 3"):
        reader.masking(MASK)


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    teacher, texts = checkpoint(tmp_path / "teacher", MASKED_LM), write_rhymes(tmp_path / "texts.txt")
    vocabulary = (teacher / "vocab.txt").read_text()
    (teacher / "vocab.txt").write_text(vocabulary.replace("[MASK]", "[HIDE]"))
    (teacher / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "mask_token": null}')
    with pytest.raises(ModelError, match="no mask token"):
        distill_checkpoint(
            teacher, tmp_path / "x.qrt", texts, weights=weights_of("distilbert"), progress=False
        )
