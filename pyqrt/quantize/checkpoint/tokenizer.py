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
# Vocabularies of other kinds. Not a vocab.txt: transformers may take it for something else, or for nothing.
_VOCABULARIES = ("vocab.json", "merges.txt", "bpe.codes", "*.model")
_SPECIAL_TOKENS = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def read_tokenizer(
    directory: Directory, wordpiece_classes: tuple[str, ...], *, lowercase_first: bool = False
) -> str | None:
    """Text of a tokenizer.json that tokenizes as transformers does, without truncation or padding.

    tokenizer.json is taken as it is, except that case, accent and Chinese character options stated in
    tokenizer_config.json win, as they do in transformers. Without it a WordPiece tokenizer is made from
    vocab.txt; other vocabularies (byte-pair merges, SentencePiece) are read by transformers. None if there
    is no vocabulary, or (with a warning) none that transformers, if installed, makes a tokenizer.json of.

    wordpiece_classes: values of `tokenizer_class` that mean BERT's WordPiece.
    lowercase_first: lowercase all text before anything else.
    Raises ModelError for a file that is malformed.
    """
    options = directory.optional_object("tokenizer_config.json")
    stated_class = options.get("tokenizer_class")
    is_wordpiece = bool(wordpiece_classes) and stated_class in (None, *wordpiece_classes)
    if directory.has("tokenizer.json"):
        tokenizer = directory.object("tokenizer.json")
    elif is_wordpiece and directory.has("vocab.txt"):
        tokenizer = _from_vocabulary(directory, options)
    else:
        converted = _by_transformers(directory, stated_class)
        if converted is None:
            return None
        tokenizer = converted

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


def _by_transformers(directory: Directory, stated_class: Any) -> dict[str, Any] | None:
    """What transformers makes of another vocabulary; None if there is none or, with a warning, nothing."""
    names = {path.name for pattern in _VOCABULARIES for path in directory.path.glob(pattern)}
    if names:
        try:
            return _converted(directory, names)
        except ImportError:
            reason = (
                "reading them needs transformers and sentencepiece (pip install transformers sentencepiece)"
            )
        except Exception as error:  # of many kinds: files that do not fit, tokenizers written in Python
            reason = f"transformers makes no tokenizer.json of them ({' '.join(str(error).split())[:300]})"
    elif directory.has("vocab.txt"):
        names, reason = {"vocab.txt"}, f"it alone does not define a {stated_class or 'tokenizer'}"
    else:
        return None
    warnings.warn(
        f"{directory.path}: of a tokenizer there is {', '.join(sorted(names))}: {reason}. "
        "The model takes token ids only; add a tokenizer.json for text",
        stacklevel=3,
    )
    return None


def _converted(directory: Directory, names: set[str]) -> dict[str, Any]:
    import transformers  # not needed for the checkpoints that most people have

    made = transformers.AutoTokenizer.from_pretrained(
        directory.path, local_files_only=True, trust_remote_code=False
    )
    converted: dict[str, Any] = json.loads(made.backend_tokenizer.to_str())
    known = made.get_vocab()
    if "vocab.json" in names and (lost := directory.object("vocab.json").keys() - known.keys()):
        raise ValueError(f"it lacks {len(lost)} tokens of vocab.json")
    for name in names:
        directory.open(name)
    return converted


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
