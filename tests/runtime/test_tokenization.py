"""Tokens of texts and pairs."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

import pytest
import small_model

from pyqrt.errors import ModelError
from pyqrt.runtime import tokenization
from pyqrt.runtime.tokenization import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(small_model.tokenizer_json(), 12)


def test_everything_about_a_text(tokenizer: Tokenizer) -> None:
    (encoded,) = tokenizer.encode(["a  abc, Paris."])
    assert len(encoded) == 8
    assert encoded.ids.tolist() == [2, 4, 7, 8, 1, 9, 13, 3]
    assert str(encoded.ids.dtype) == str(encoded.types.dtype) == "int32"
    assert encoded.types.tolist() == [0] * 8
    assert encoded.offsets == [(0, 0), (0, 1), (3, 5), (5, 6), (6, 7), (8, 13), (13, 14), (0, 0)]
    assert encoded.special == [True, *[False] * 6, True]
    assert encoded.words == [None, 0, 1, 1, 2, 3, 4, None]
    assert encoded.segments == [None, 0, 0, 0, 0, 0, 0, None]


def test_offsets_count_characters(tokenizer: Tokenizer) -> None:
    text = "\U0001f600 äö Paris"
    (encoded,) = tokenizer.encode([text])
    start, end = encoded.offsets[-2]
    assert text[start:end] == "Paris"


def test_pairs(tokenizer: Tokenizer) -> None:
    first, second = tokenizer.encode(["a b", ""], ["c", "a"])
    assert first.ids.tolist() == [2, 4, 5, 3, 6, 3]
    assert first.types.tolist() == [0, 0, 0, 0, 1, 1]
    assert first.segments == [None, 0, 0, None, 1, None]
    assert second.ids.tolist() == [2, 3, 4, 3]


def test_no_padding_and_no_truncation_of_the_files_own(tokenizer: Tokenizer) -> None:
    """The file's settings pad to 16 and cut at 4; a model's limits are the program's."""
    short, long = tokenizer.encode(["", "a b c a b"])
    assert short.ids.tolist() == [2, 3]
    assert len(long) == 7
    assert tokenizer.encode([]) == []


def test_truncation(tokenizer: Tokenizer) -> None:
    (whole,) = tokenizer.encode(["a " * 10])
    assert len(whole) == 12
    with pytest.raises(ModelError, match=r"text 1 has 13 tokens, the model takes up to 12.*--truncate"):
        tokenizer.encode(["a", "a " * 11])
    (cut,) = tokenizer.encode(["b" + " a" * 99], truncate=True)
    assert cut.ids.tolist() == [2, 5, *[4] * 9, 3]
    assert tokenizer.encode(["a"], truncate=True)[0].ids.tolist() == [2, 4, 3]
    (again,) = tokenizer.encode(["a " * 10])
    assert len(again) == 12


def test_texts_are_cut_on_the_side_that_the_file_states() -> None:
    content = json.loads(small_model.tokenizer_json())
    content["truncation"]["direction"] = "Left"
    tokenizer = Tokenizer(json.dumps(content), 5)
    (cut,) = tokenizer.encode(["a b a b c"], truncate=True)
    assert cut.ids.tolist() == [2, 4, 5, 6, 3]
    (pair,) = tokenizer.encode(["a"], ["b c b c"], truncate=True)
    assert pair.ids.tolist() == [2, 4, 3, 6, 3]


def test_of_a_pair_the_longer_is_cut_first(tokenizer: Tokenizer) -> None:
    (encoded,) = tokenizer.encode(["a " * 20], ["b c"], truncate=True)
    assert encoded.ids.tolist() == [2, *[4] * 7, 3, 5, 6, 3]
    (encoded,) = tokenizer.encode(["b c"], ["a " * 20], truncate=True)
    assert encoded.ids.tolist() == [2, 5, 6, 3, *[4] * 7, 3]


def test_a_limit_below_the_special_tokens() -> None:
    tokenizer = Tokenizer(small_model.tokenizer_json(), 2)
    assert tokenizer.encode(["a b"], truncate=True)[0].ids.tolist() == [2, 3]
    with pytest.raises(ModelError, match="special tokens alone"):
        tokenizer.encode(["a"], ["b"], truncate=True)


def test_what_is_no_text(tokenizer: Tokenizer) -> None:
    with pytest.raises(ModelError, match="text 1 is of type bytes"):
        tokenizer.encode(["a", b"a"])  # type: ignore[list-item]
    with pytest.raises(ModelError, match="text 0 is of type NoneType"):
        tokenizer.encode(["a"], [None])  # type: ignore[list-item]
    with pytest.raises(ModelError, match="text 0 is not valid Unicode"):
        tokenizer.encode(["\udc80"])


def test_no_unknown_token() -> None:
    text = small_model.tokenizer_json().replace('"unk_token": "[UNK]"', '"unk_token": "[NONE]"')
    with pytest.raises(ModelError, match="tokenizer in the model file"):
        Tokenizer(text, 9).encode(["zzz"])


def test_a_fork_waits_for_the_first_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a child the library would wait for ever for the thread that initializes it."""
    begun, made = threading.Event(), False
    make = tokenization._make

    def make_slowly(json_text: str) -> Any:
        nonlocal made
        begun.set()
        time.sleep(0.2)
        tokenizer = make(json_text)
        made = True
        return tokenizer

    monkeypatch.setattr(tokenization, "_in_use", False)
    monkeypatch.setattr(tokenization, "_make", make_slowly)
    maker = threading.Thread(target=Tokenizer, args=(small_model.tokenizer_json(), 12))
    maker.start()
    assert begun.wait(60)
    child = os.fork()
    if child == 0:
        os._exit(0 if made else 1)
    maker.join(60)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
