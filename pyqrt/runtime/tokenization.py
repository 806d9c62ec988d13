"""Text to token ids, by the tokenizer in the model file.

The `tokenizers` library is imported when the first text comes: token ids can be run without it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from pyqrt import _runtime
from pyqrt.errors import ModelError
from pyqrt.runtime.memory import require_address_space

Ids = npt.NDArray[np.int32]

_MASK_TOKENS = ("[MASK]", "<mask>")

# Address space, measured with tokenizers 0.23: a vocabulary (WordPiece, BPE) takes 14 to 19 times its JSON.
_LIBRARY_BYTES = 8 << 20
_BYTES_PER_JSON_BYTE = 20
_THREAD_BYTES = 2 << 20  # the stack of each thread of the library's pool, one for every CPU
_NO_PARALLELISM = ("", "off", "false", "f", "no", "n", "0")  # values of TOKENIZERS_PARALLELISM

# A fork waits while the library is imported and makes its first tokenizer: a child would find begun what is
# done once, and no thread that ends it.
_first_use = threading.RLock()
_in_use = False
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_first_use.acquire, after_in_parent=_first_use.release, after_in_child=_first_use.release
    )


class Encoded:
    """One text, or pair of texts, as tokens. Every property has one entry per token."""

    def __init__(self, encoding: Any) -> None:
        self._encoding = encoding

    def __len__(self) -> int:
        return len(self._encoding)

    @property
    def ids(self) -> Ids:
        """Vocabulary numbers, int32 [tokens]."""
        return np.array(self._encoding.ids, np.int32)

    @property
    def types(self) -> Ids:
        """Token types as the tokenizer gives them, int32 [tokens]."""
        return np.array(self._encoding.type_ids, np.int32)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """First character and end of each token in its text; (0, 0) for special tokens."""
        return list(self._encoding.offsets)

    @property
    def special(self) -> list[bool]:
        """Was the token added by the tokenizer?"""
        return [bool(flag) for flag in self._encoding.special_tokens_mask]

    @property
    def words(self) -> list[int | None]:
        """Number of the word in its text; None for special tokens."""
        return list(self._encoding.word_ids)

    @property
    def segments(self) -> list[int | None]:
        """0: of the text, 1: of its pair, None: special."""
        return list(self._encoding.sequence_ids)

    @property
    def truncated(self) -> bool:
        """Was something cut?"""
        return bool(self._encoding.overflowing)


class Tokenizer:
    """A tokenizer.json and the number of tokens its model takes. Thread-safe, never pads."""

    def __init__(self, json_text: str, max_length: int) -> None:
        """Raises ModelError if `json_text` is no tokenizer or `tokenizers` is not installed."""
        self.max_length = max_length
        self._json_text = json_text
        self._whole = _load(json_text)
        self._direction = (self._whole.truncation or {}).get("direction", "right")
        self._whole.no_truncation()
        # Truncation is a state of the library's object, so it takes a second one, made when wanted.
        self._truncating: Any = None

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        truncate: bool = False,
        names: Sequence[str] | None = None,
    ) -> list[Encoded]:
        """Tokens of every text, or of every (text, pair), with the model's special tokens.

        names: what messages call them, if not by their numbers. Raises ModelError for a text longer than
        the model takes, unless `truncate`, and for a text the tokenizer has no tokens for.
        """
        if pairs is not None and len(pairs) != len(texts):
            raise ModelError(f"{len(texts)} texts but {len(pairs)} pairs; give one pair for each text")
        inputs: list[Any] = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        names = names or [f"text {index}" for index in range(len(inputs))]
        for name, item in zip(names, inputs, strict=True):
            for part in (item,) if pairs is None else item:
                _check_text(name, part)
        tokenizer = self._truncate() if truncate else self._whole
        with _library_errors("fails"):
            encoded = [Encoded(encoding) for encoding in tokenizer.encode_batch(inputs)]
        for name, item in zip(names, encoded, strict=True):
            if len(item) > self.max_length:
                remedy = (
                    "its special tokens alone are more than the model takes"
                    if truncate
                    else "shorten it, or cut it at the limit: truncate=True, on the command line --truncate"
                )
                raise ModelError(
                    f"{name} has {len(item)} tokens, the model takes up to {self.max_length}; {remedy}"
                )
        return encoded

    def id_of(self, token: str) -> int | None:
        """Number of a token of the vocabulary; None if it has none such."""
        number: int | None = self._whole.token_to_id(token)
        return number

    def windows(self, texts: Sequence[str], pairs: Sequence[str], stride: int) -> list[list[Encoded]]:
        """Every (text, pair) as the sequences it takes to see all of the pair.

        The text is whole in each of them, and neighbours share `stride` tokens of the pair. Raises
        ModelError where a text with a pair too long for one leaves less room than that, for a stride that
        is no number of tokens, and as `encode` does.
        """
        if not isinstance(stride, (int, np.integer)) or not 0 <= stride < self.max_length:
            raise ModelError(
                f"stride is {stride!r}; it must be an integer of at least 0 and below {self.max_length}, "
                "the tokens that the model takes"
            )
        inputs = list(zip(texts, pairs, strict=True))
        for index, item in enumerate(inputs):
            for part in item:
                _check_text(f"text {index}", part)
        with _library_errors("fails"):
            encodings = self._whole.encode_batch(inputs)
        long = [index for index, item in enumerate(encodings) if len(item) > self.max_length]
        if long:
            for index, alone in zip(
                long, self._whole.encode_batch([(texts[index], "") for index in long]), strict=True
            ):
                left = self.max_length - len(alone)
                if left <= stride:
                    raise ModelError(
                        f"text {index} leaves {max(left, 0)} of the model's {self.max_length} tokens to its "
                        f"context, stride is {stride}; shorten the text or lower the stride"
                    )
            tokenizer = _load(self._json_text)
            tokenizer.enable_truncation(self.max_length, stride=int(stride), strategy="only_second")
            with _library_errors("fails"):
                cut = tokenizer.encode_batch([inputs[index] for index in long])
            for index, encoding in zip(long, cut, strict=True):
                encodings[index] = encoding
        return [[Encoded(part) for part in (encoding, *encoding.overflowing)] for encoding in encodings]

    @property
    def mask_id(self) -> int:
        """Number of the mask token. Raises ModelError if there is none."""
        for name in _MASK_TOKENS:
            number = self._whole.token_to_id(name)
            if number is not None:
                return int(number)
        raise ModelError(f"the tokenizer has no mask token ({' or '.join(_MASK_TOKENS)})")

    def token(self, number: int) -> str:
        """The text of a vocabulary entry, as it would be written within a text; "" if it has none."""
        return str(self._whole.decode([number], skip_special_tokens=False))

    def _truncate(self) -> Any:
        if self._truncating is None:
            truncating = _load(self._json_text)
            # Of a pair the longer one loses tokens first, from its end if the file states no other side.
            truncating.enable_truncation(self.max_length, strategy="longest_first", direction=self._direction)
            self._truncating = truncating  # whole, whichever of two threads comes last
        return self._truncating


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise ModelError(f"{name} is of type {type(text).__name__}, not a string")
    try:
        text.encode()
    except UnicodeError as error:
        raise ModelError(f"{name} is not valid Unicode: {error}") from None


def _load(json_text: str) -> Any:
    global _in_use
    if _in_use:
        return _make(json_text)
    with _first_use:
        tokenizer = _make(json_text)
        _in_use = True
    return tokenizer


def _make(json_text: str) -> Any:
    # The library ends the process when it gets no memory.
    require_address_space(_address_space(json_text), "the tokenizer")
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise ModelError("texts need the tokenizers library: pip install tokenizers") from None
    except ImportError as error:
        raise ModelError(f"the tokenizers library cannot be loaded: {error}") from None
    with _library_errors("is malformed"):
        tokenizer = tokenizers.Tokenizer.from_str(json_text)
    tokenizer.no_padding()
    return tokenizer


def _address_space(json_text: str) -> int:
    """Bytes that a tokenizer made from `json_text` takes, with the library if that is not yet loaded."""
    needed = _BYTES_PER_JSON_BYTE * len(json_text)
    if "tokenizers" not in sys.modules:
        needed += _LIBRARY_BYTES
        if os.environ.get("TOKENIZERS_PARALLELISM", "true").lower() not in _NO_PARALLELISM:
            needed += _runtime.available_cpus() * _THREAD_BYTES
    return needed


@contextmanager
def _library_errors(problem: str) -> Iterator[None]:
    """The library raises bare Exception, and PanicException, which is none, where it gives up."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ModelError(f"the tokenizer in the model file {problem}: {error}") from None
        raise
