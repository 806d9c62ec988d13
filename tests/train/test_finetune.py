"""Fine-tuning a tiny encoder on tasks it can learn completely."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, processors

from pyqrt.errors import ModelError
from pyqrt.eval import evaluate
from pyqrt.eval.tasks.entities import TaggedTokens
from pyqrt.quantize.api import quantize_checkpoint
from pyqrt.quantize.checkpoint import load_checkpoint
from pyqrt.runtime.tokenization import Tokenizer
from pyqrt.train import finetune as module
from pyqrt.train.finetune import (
    IGNORED,
    LabelledData,
    finetune,
    label_sequences,
    read_labelled,
    task_loss,
)
from pyqrt.train.head import with_new_head
from pyqrt.train.loop import Options
from pyqrt.train.save import save_checkpoint
from tiny_checkpoint import checkpoint

OPTIONS = Options(epochs=3, learning_rate=3e-3, seed=1)


def separable(path: Path, count: int, seed: int) -> Path:
    """Positive if there is an `x` among the letters."""
    draw = random.Random(seed)
    lines = ["sentence\tlabel"]
    for index in range(count):
        letters = [draw.choice("abcd") for _ in range(draw.randint(2, 9))]
        if index % 2:
            letters[draw.randrange(len(letters))] = "x"
        lines.append(" ".join(letters) + f"\t{index % 2}")
    path.write_text("\n".join(lines) + "\n")
    return path


def tagged(path: Path, count: int, seed: int) -> Path:
    """`x` begins a person, `y` behind it continues it."""
    draw = random.Random(seed)
    lines = ["tokens\ttags"]
    for _ in range(count):
        tokens, tags = ["a"], ["O"]
        for _ in range(draw.randint(1, 3)):
            tokens += ["x", "y", draw.choice("bcd")]
            tags += ["B-PER", "I-PER", "O"]
        lines.append(" ".join(tokens) + "\t" + " ".join(tags))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(("task", "write"), [("sst2", separable), ("conll2003", tagged)])
def test_a_separable_task_is_learnt_and_quantized(tmp_path: Path, task: str, write: object) -> None:
    assert callable(write)
    train, dev = write(tmp_path / "train.tsv", 320, 0), write(tmp_path / "dev.tsv", 60, 1)
    report = finetune(
        checkpoint(tmp_path / "bert"), task, train, tmp_path / "tuned", OPTIONS, batch_size=16, max_length=24
    )
    assert report["losses"][-1] < 0.1 < report["losses"][0]
    assert (report["examples"], report["cut"]) == (320, 0)
    quantize_checkpoint(tmp_path / "tuned", tmp_path / "model.qrt", calibration=train, progress=False)
    result = evaluate(tmp_path / "model.qrt", task, dev, checkpoint=tmp_path / "tuned", resamples=10)
    assert result.scores[0].float is not None
    assert (result.scores[0].integer.value, result.scores[0].float.value) == (1.0, 1.0)


def weights(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, data = checkpoint(tmp_path / "bert"), separable(tmp_path / "train.tsv", 64, 0)
    finetune(source, "sst2", data, tmp_path / "whole", OPTIONS, batch_size=16)

    calls = iter(range(100))

    def interrupted(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return task_loss(logits, target)

    save_point = module.SavePoint
    monkeypatch.setattr(module, "SavePoint", lambda path, identity: save_point(path, identity, seconds=0.0))
    state = tmp_path / "state"
    monkeypatch.setattr(module, "task_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finetune(source, "sst2", data, tmp_path / "killed", OPTIONS, batch_size=16, state=state)
    assert state.exists()
    assert not (tmp_path / "killed").exists()
    monkeypatch.setattr(module, "task_loss", task_loss)
    with pytest.raises(ModelError, match="of another training"):
        finetune(source, "sst2", data, tmp_path / "killed", OPTIONS, batch_size=8, state=state)
    finetune(source, "sst2", data, tmp_path / "killed", OPTIONS, batch_size=16, state=state)
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert not state.exists()


def test_seed_limit_and_frozen_embeddings(tmp_path: Path) -> None:
    source, data = checkpoint(tmp_path / "bert"), separable(tmp_path / "train.tsv", 40, 0)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        report = finetune(
            source,
            "sst2",
            data,
            tmp_path / name,
            Options(epochs=1, learning_rate=1e-2, seed=seed),
            limit=20,
            freeze_embeddings=True,
        )
        assert report["examples"] == 20
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")
    before, _ = load_checkpoint(source)
    after, _ = load_checkpoint(tmp_path / "a")
    assert torch.equal(after.embeddings.word.weight, before.embeddings.word.weight)
    assert not torch.equal(after.layers[0].ffn.up.weight, before.layers[0].ffn.up.weight)


def test_only_first_pieces_have_targets(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("tokens\ttags\nba x.y\tO B-PER\n")
    data = read_labelled("conll2003", path)
    assert (data.task, data.labels) == ("token_classification", ("O", "B-PER"))
    encoder, source = with_new_head(
        checkpoint(tmp_path / "bert"), data.task, data.labels, max_length=24, seed=0
    )
    assert source.tokenizer_json is not None
    ((sequence,), cut) = (label_sequences(data, Tokenizer(source.tokenizer_json, 24), typed=True)[0], 0)
    # [CLS] b ##a x . y [SEP]
    assert sequence.target.tolist() == [IGNORED, 0, IGNORED, 1, IGNORED, IGNORED, IGNORED]
    assert (cut, encoder.config.head.labels) == (0, ("O", "B-PER"))


TEMPLATE = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
METASPACE = pre_tokenizers.Metaspace()


@pytest.mark.parametrize(
    "splitter", [METASPACE, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), METASPACE])]
)
def test_first_pieces_of_words_that_begin_with_a_mark(splitter: Any) -> None:
    """The mark may be a piece of its own, and then is the one that a word's result is read from."""
    pieces = ["<s>", "\u2581New", "\u2581York", "\u2581", "is", "a"]
    tokenizer = Library(models.Unigram([(piece, -1.0) for piece in pieces], 0))
    tokenizer.pre_tokenizer, tokenizer.post_processor = splitter, TEMPLATE
    assert targets(tokenizer, "New York is a") == [IGNORED, 1, 2, 0, IGNORED, 0, IGNORED]


@pytest.mark.parametrize("trim", [True, False])
@pytest.mark.parametrize("template", [True, False])
def test_first_pieces_of_byte_pairs_with_their_blanks(template: bool, trim: bool) -> None:
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=trim)
    pieces = {"<s>": 0, **{letter: i + 1 for i, letter in enumerate(splitter.alphabet())}}
    tokenizer = Library(models.BPE(pieces | {"\u0120Y": 257}, [("\u0120", "Y")]))
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = TEMPLATE if template else processors.ByteLevel(trim_offsets=trim)
    # N e, blank with Y, o r, blank, i s
    expected = [1, IGNORED, 2, IGNORED, IGNORED, 0, IGNORED, IGNORED]
    assert targets(tokenizer, "Ne Yor is") == [IGNORED] * template + expected


def targets(tokenizer: Library, text: str) -> list[int]:
    """What the tokens are trained towards; the first word begins an entity, the second goes on."""
    tokens = text.split()
    tags = ["B-LOC", "I-LOC", *["O"] * (len(tokens) - 2)]
    data = LabelledData("token_classification", ("O", "B-LOC", "I-LOC"), [TaggedTokens(tokens, tags)])
    ((sequence,), _) = label_sequences(data, Tokenizer(tokenizer.to_str(), 24), typed=False)
    return sequence.target.tolist()


def test_tokens_that_no_word_begins_at_are_refused() -> None:
    data = LabelledData("token_classification", ("O",), [TaggedTokens(["\u200b"], ["O"])])
    tokenizer = Library(models.WordLevel({"<s>": 0, "a": 1}, "<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.CharDelimiterSplit("\u200b")
    with pytest.raises(ModelError, match="no token of the data begins where the tokenizer sees a word"):
        label_sequences(data, Tokenizer(tokenizer.to_str(), 24), typed=False)


def test_a_save_point_is_of_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, data = checkpoint(tmp_path / "bert"), separable(tmp_path / "train.tsv", 40, 0)

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    save_point = module.SavePoint
    monkeypatch.setattr(module, "SavePoint", lambda path, identity: save_point(path, identity, seconds=0.0))
    monkeypatch.setattr(module, "save_checkpoint", fail)
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        finetune(source, "sst2", data, tmp_path / "tuned", OPTIONS, state=state)
    flipped = data.read_text().replace("\t1", "\t2").replace("\t0", "\t1").replace("\t2", "\t0")
    data.write_text(flipped)
    with pytest.raises(ModelError, match="of another training"):
        finetune(source, "sst2", data, tmp_path / "tuned", OPTIONS, state=state)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"limit": -3}])
def test_counts_begin_at_one(tmp_path: Path, options: dict[str, int]) -> None:
    (name, value), data = next(iter(options.items())), separable(tmp_path / "train.tsv", 2, 0)
    with pytest.raises(ModelError, match=f"{name} is {value}; it must be at least 1"):
        finetune(tmp_path, "sst2", data, tmp_path / "tuned", OPTIONS, **options)


def test_names_and_numbers_of_a_new_head_agree(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "bert", 3)  # three labels
    encoder, described = with_new_head(source, "sequence_classification", ("a", "b"), max_length=9, seed=0)
    save_checkpoint(encoder, described, tmp_path / "saved")
    hf = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (hf["id2label"], hf["label2id"]) == ({"0": "a", "1": "b"}, {"a": 0, "b": 1})


def test_a_head_of_another_task_is_replaced_and_the_rest_kept(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "bert", 3)  # three labels
    old, _ = load_checkpoint(source)
    new, described = with_new_head(source, "sequence_classification", ("a", "b"), max_length=9, seed=0)
    assert new.config.head.num_labels == 2
    assert new.config.max_length == described.max_length == 9
    assert torch.equal(new.head.transform.weight, old.head.transform.weight)
    assert new.head.classifier.bias.tolist() == [0.0, 0.0]
    again, _ = with_new_head(source, "sequence_classification", ("a", "b"), max_length=9, seed=0)
    other, _ = with_new_head(source, "sequence_classification", ("a", "b"), max_length=9, seed=1)
    assert torch.equal(new.head.classifier.weight, again.head.classifier.weight)
    assert not torch.equal(new.head.classifier.weight, other.head.classifier.weight)
    value, _ = with_new_head(source, "sequence_classification", ("score",), max_length=9, seed=0)
    assert value.config.head.problem == "regression"


def test_losses() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    expected = (torch.log1p(torch.exp(torch.tensor(-2.0))) + torch.log1p(torch.exp(torch.tensor(-1.0)))) / 2
    torch.testing.assert_close(task_loss(logits, torch.tensor([0, 1, IGNORED])), expected)
    assert task_loss(torch.tensor([[1.0], [3.0]]), torch.tensor([2.0, 5.0])).item() == 2.5
    nothing = task_loss(logits.requires_grad_(), torch.tensor([IGNORED] * 3))
    nothing.backward()
    assert (nothing.item(), logits.grad.abs().max().item()) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("task", "message"),
    [("squad", "not implemented"), ("nothing", "known: sst2"), ("rte", "needed are sentence1")],
)
def test_what_cannot_be_learnt_is_refused(tmp_path: Path, task: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_labelled(task, separable(tmp_path / "train.tsv", 2, 0))


def test_a_checkpoint_without_tokenizer_is_refused(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "bert", tokenizer=False)
    with pytest.raises(ModelError, match="cannot learn from text"):
        with_new_head(source, "token_classification", ("O",), max_length=9, seed=0)
