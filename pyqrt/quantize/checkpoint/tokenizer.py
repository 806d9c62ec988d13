"""The tokenizer of a checkpoint as the text of one tokenizer.json."""

from __future__ import annotations

import json
import warnings
from typing import Any

from tokenizers import Tokenizer, normalizers
from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

from pyqrt.errors import ModelError
from pyqrt.quantize.checkpoint.files import Directory

# Options of tokenizer_config.json and their names in a BertNormalizer.
_NORMALIZER_OPTIONS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_SPECIAL_TOKENS = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def read_tokenizer(
    directory: Directory, wordpiece_classes: tuple[str, ...], *, lowercase_first: bool = False
) -> str | None:
    """Text of a tokenizer.json that tokenizes as transformers does, without truncation or padding.

    tokenizer.json is taken as it is, except that case, accent and Chinese character options stated in
    tokenizer_config.json win, as they do in transformers. Without it a WordPiece tokenizer is made from
    vocab.txt. None if there is neither, or (with a warning) if the tokenizer's class is none that a
    vocab.txt is enough for.

    wordpiece_classes: values of `tokenizer_class` that mean BERT's WordPiece.
    lowercase_first: lowercase all text before anything else.
    Raises ModelError for a file that is malformed.
    """
    options = directory.optional_object("tokenizer_config.json")
    stated_class = options.get("tokenizer_class")
    is_wordpiece = bool(wordpiece_classes) and stated_class in (None, *wordpiece_classes)
    if directory.has("tokenizer.json"):
        tokenizer = directory.object("tokenizer.json")
    elif directory.has("vocab.txt"):
        if not is_wordpiece:
            warnings.warn(
                f"{directory.path}: vocab.txt alone does not define a {stated_class or 'tokenizer'}; "
                "the model takes token ids only. Add a tokenizer.json for text",
                stacklevel=2,
            )
            return None
        tokenizer = _from_vocabulary(directory, options)
    else:
        return None

    tokenizer |= {"truncation": None, "padding": None}
    normalizer = tokenizer.get("normalizer")
    if is_wordpiece and isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
        normalizer |= {new: options[old] for old, new in _NORMALIZER_OPTIONS.items() if old in options}
    text = json.dumps(tokenizer, ensure_ascii=False)
    try:
        parsed = Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise ModelError(f"{directory.path}/tokenizer.json: {error}") from None
    if lowercase_first:
        steps = [normalizers.Lowercase()]
        if parsed.normalizer is not None:
            steps.append(parsed.normalizer)
        parsed.normalizer = normalizers.Sequence(steps)
        return parsed.to_str()
    return text


def _from_vocabulary(directory: Directory, options: dict[str, Any]) -> dict[str, Any]:
    """BERT's tokenizer for vocab.txt: a token per line, its id the number of the line from 0."""
    path = directory.path / "vocab.txt"
    lines = directory.text("vocab.txt").removesuffix("\n").split("\n")
    vocabulary = {token: index for index, token in enumerate(lines)}
    if directory.has("added_tokens.json"):
        beyond = sorted(set(directory.object("added_tokens.json")) - set(vocabulary))
        if beyond:
            raise ModelError(
                f"{directory.path}/added_tokens.json: tokens beyond vocab.txt ({', '.join(beyond)}) need a "
                "tokenizer.json; save one with transformers' AutoTokenizer"
            )
    special: dict[str, Any] = {
        name: _token_text(options[name]) for name in _SPECIAL_TOKENS if options.get(name)
    }
    try:
        tokenizer = BertWordPieceTokenizer(
            vocabulary,
            lowercase=options.get("do_lower_case", True),
            strip_accents=options.get("strip_accents"),
            handle_chinese_chars=options.get("tokenize_chinese_chars", True),
            **special,
        )
    except TypeError as error:
        raise ModelError(f"{path}: {error}") from None
    made: dict[str, Any] = json.loads(tokenizer.to_str())
    return made


def _token_text(token: Any) -> str:
    """A special token is written as its text or as an AddedToken's fields."""
    return str(token["content"] if isinstance(token, dict) else token)
