"""What closeness.py reads and compares: documents of exactly so many tokens, masks, and its own numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import closeness
from pyqrt import load
from pyqrt.errors import ModelError
from pyqrt.quantize.api import quantize_checkpoint
from pyqrt.quantize.checkpoint import load_checkpoint
from pyqrt.quantize.gate import float_outputs
from pyqrt.quantize.texts import Encoded
from tiny_checkpoint import checkpoint


def test_lines_become_documents_of_exactly_so_many_tokens(tmp_path: Path) -> None:
    encoder, source = load_checkpoint(checkpoint(tmp_path / "bert"))
    data = tmp_path / "lines.txt"
    data.write_text("a b c\nd e f\ng h\ni j k l\nm\nn\n")
    found = closeness.read(data, encoder, source, 1, None, 8)
    ids = {letter: 5 + number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    assert [[2, *map(ids.get, text), 3] for text in ("abcdef", "ghijkl")] == [s.ids for s in found]
    assert closeness.read(data, encoder, source, 1, 1, 8) == found[:1]
    assert [len(s.ids) for s in closeness.read(data, encoder, source, 2, None, None)] == [5, 4, 3]
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("sentence1\tsentence2\tscore\na\tb c\t1\nd\te\t2\n")
    assert [len(s.ids) for s in closeness.read(pairs, encoder, source, 1, 3, None)] == [3, 4, 3]


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    encoder, source = load_checkpoint(checkpoint(tmp_path / "bert", tokenizer=False))
    (tmp_path / "ids.jsonl").write_text('{"ids": [1, 2]}\n')
    with pytest.raises(ModelError, match="--tokens joins lines of text"):
        closeness.read(tmp_path / "ids.jsonl", encoder, source, 1, None, 8)
    (tmp_path / "lines.txt").write_text("a\n")
    with pytest.raises(ModelError, match="give token ids"):
        closeness.read(tmp_path / "lines.txt", encoder, source, 1, None, None)
    with pytest.raises(ModelError, match="too few lines"):
        closeness.closeness(encoder, None, [], None)


def test_masks_hide_a_seventh_but_never_the_ends() -> None:
    sequences = [Encoded(list(range(100, 122)), [0] * 22), Encoded([1, 2, 3], [0] * 3)]
    shown, places = closeness.masked(sequences, 7)
    assert [len(chosen) for chosen in places] == [3, 1]
    for sequence, copy, chosen in zip(sequences, shown, places, strict=True):
        assert all(0 < place < len(sequence.ids) - 1 for place in chosen)
        changed = [i for i, (a, b) in enumerate(zip(sequence.ids, copy.ids, strict=True)) if a != b]
        assert changed == sorted(chosen)
        assert {copy.ids[place] for place in chosen} == {7}


def test_its_numbers_are_those_of_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, model = checkpoint(tmp_path / "bert"), tmp_path / "bert.qrt"
    quantize_checkpoint(source, model, force=True, progress=False, recipe="plain")
    data = tmp_path / "lines.txt"
    data.write_text("a b c\nd e f\ng h\n")
    monkeypatch.setattr("sys.argv", ["closeness", str(model), str(source), "--data", str(data)])
    assert closeness.main() == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["sequences"], printed["tokens"]) == (3, 14)
    assert printed["one_minus_cosine"] == 1 - printed["mean_cosine"]
    assert 0 < printed["one_minus_cosine"] < 0.1
    assert 0 < printed["relative_error"] < 0.5
    options = source / "tokenizer_config.json"  # the checkpoint stops at 4 tokens, the file does not
    options.write_text(json.dumps(json.loads(options.read_text()) | {"model_max_length": 4}))
    assert load_checkpoint(source)[0].config.max_length == 4
    assert closeness.main() == 0
    assert json.loads(capsys.readouterr().out) == printed
    data.unlink()
    assert closeness.main() == 1
    assert "lines.txt" in capsys.readouterr().err


def test_the_words_a_masked_language_model_names_are_counted(tmp_path: Path) -> None:
    source, path = checkpoint(tmp_path / "bert", 9), tmp_path / "bert.qrt"
    quantize_checkpoint(source, path, force=True, progress=False, recipe="plain")
    encoder, _ = load_checkpoint(source)
    mask, model = 4, load(path)
    _, ((place,),) = closeness.masked([Encoded([2, 5, 6, 7, 8, 3], [0] * 6)], mask)
    ids = [2, 5, 6, 7, 8, 3]
    ids[place] = mask
    (logits,) = float_outputs(encoder, [Encoded(ids, [0] * 6)])
    named = int(logits[place].argmax())
    for target, share in ((named, 1.0), ((named + 1) % encoder.config.vocab_size, 0.0)):
        ids[place] = target
        found = closeness.closeness(encoder, model, [Encoded(list(ids), [0] * 6)], mask)
        assert found["rows"] == 1
        assert found["named"]["float"] == share
        assert found["named"]["integer"] in (0.0, 1.0)
