"""The tokenizer of a checkpoint as the text of one tokenizer.json."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer, normalizers
from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

from pyqrt.errors import ModelError
from pyqrt.models import Family, bert
from pyqrt.nn.config import EncoderConfig
from pyqrt.quantize.checkpoint.added_tokens import (
    SPECIAL_TOKENS,
    added_token,
    missing_tokens,
    with_special_tokens,
)
from pyqrt.quantize.checkpoint.files import Directory

# Options of tokenizer_config.json: their names in a BertNormalizer, what they are if not stated.
_NORMALIZER_OPTIONS = {
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}
_GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")  # whose tokenizer.json says it all
# What the model file keeps of it is the direction.
_LEFT_TRUNCATION = {"direction": "Left", "max_length": 512, "strategy": "LongestFirst", "stride": 0}
# Vocabularies of other kinds. Not a vocab.txt: transformers may take it for something else, or for nothing.
_VOCABULARIES = ("vocab.json", "merges.txt", "bpe.codes", "*.model")


def read_tokenizer(
    directory: Directory,
    hf: Mapping[str, Any],
    described_by: Family,
    config: EncoderConfig,
    *,
    lowercase_first: bool = False,
) -> str | None:
    """Text of a tokenizer.json that tokenizes as transformers does, without padding.

    Without truncation, too, unless texts are to be cut on the left: then it says so.

    tokenizer.json is taken as it is, except that tokenizer_config.json wins, as it does in transformers:
    in case, accents and Chinese characters of WordPiece tokenizers, a space in front of byte pairs,
    `model_input_names`, and special and other added tokens that it lacks. Where the input names, or unless
    stated the family's, have no token types, or the encoder has none, both of two texts have type 0. Without
    the file a WordPiece tokenizer is made from vocab.txt; other vocabularies (byte-pair merges,
    SentencePiece) are read by transformers. None if there is no vocabulary, or (with a warning) none that
    transformers, if installed, makes a tokenizer.json of.

    hf: config.json, which may state a `tokenizer_class`. described_by: the family: what values of it mean
    WordPiece, and of which form. config: of the encoder.
    lowercase_first: lowercase all text before anything else.
    Raises ModelError for a file that is malformed.
    """
    options = with_special_tokens(directory, directory.optional_object("tokenizer_config.json"))
    stated_class = options.get("tokenizer_class") or hf.get("tokenizer_class")
    classes = described_by.TOKENIZER_CLASSES
    is_of_bert = stated_class in bert.TOKENIZER_CLASSES
    is_wordpiece = is_of_bert or (bool(classes) and stated_class in (None, *classes))
    if directory.has("tokenizer.json"):
        tokenizer = directory.object("tokenizer.json")
    elif is_wordpiece and directory.has("vocab.txt"):
        tokenizer = _from_vocabulary(directory, options, getattr(described_by, "PAIR", None))
    else:
        converted = _by_transformers(directory, stated_class)
        if converted is None:
            return None
        tokenizer = converted

    if options.get("split_special_tokens"):
        raise ModelError(
            f"{directory.path}/tokenizer_config.json: split_special_tokens is set, which a tokenizer.json "
            "cannot hold; remove it to have special tokens in a text taken as such"
        )
    side = options.get("truncation_side", "right")
    tokenizer |= {"truncation": _LEFT_TRUNCATION if side == "left" else None, "padding": None}
    normalizer = tokenizer.get("normalizer")
    if is_wordpiece and isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
        normalizer |= {new: options.get(old, default) for old, (new, default) in _NORMALIZER_OPTIONS.items()}
    if stated_class not in _GENERIC_CLASSES:
        for step in (tokenizer.get("pre_tokenizer"), tokenizer.get("post_processor")):
            if isinstance(step, dict) and step.get("type") in ("ByteLevel", "RobertaProcessing"):
                step["add_prefix_space"] = bool(options.get("add_prefix_space"))
    parsed = _parsed(tokenizer, directory)
    if missing := missing_tokens(directory, options, parsed):
        for token, number in missing:
            _add(parsed, token, number, directory)
        tokenizer = json.loads(parsed.to_str())
    inputs = options.get("model_input_names")
    untyped = () if is_of_bert else getattr(described_by, "WITHOUT_TOKEN_TYPES", ())
    without = "token_type_ids" not in inputs if inputs else config.head.task in untyped
    if without or config.type_vocab_size < 2:
        tokenizer["post_processor"] = _of_one_type(tokenizer.get("post_processor"))
        parsed = _parsed(tokenizer, directory)
    if lowercase_first:
        steps = [normalizers.Lowercase()]
        if parsed.normalizer is not None:
            steps.append(parsed.normalizer)
        parsed.normalizer = normalizers.Sequence(steps)
        return parsed.to_str()
    return _text(tokenizer)


def _add(tokenizer: Tokenizer, token: AddedToken, number: int | None, directory: Directory) -> None:
    """Adds a token, which must get the id that is stated, if one is. Raises ModelError."""
    (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    got = tokenizer.token_to_id(token.content)
    if number not in (None, got):
        raise ModelError(
            f"{directory.path}: token {token.content!r} is said to have id {number}, the vocabulary gives it "
            f"{got}; save a tokenizer.json with transformers' AutoTokenizer"
        )


def _text(tokenizer: dict[str, Any]) -> str:
    return json.dumps(tokenizer, ensure_ascii=False)


def _parsed(tokenizer: dict[str, Any], directory: Directory) -> Tokenizer:
    """A tokenizer.json as the library reads it. Raises ModelError."""
    try:
        return Tokenizer.from_str(_text(tokenizer))
    except Exception as error:  # the library raises bare Exception
        raise ModelError(f"{directory.path}/tokenizer.json: {error}") from None


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


def _from_vocabulary(directory: Directory, options: dict[str, Any], pair: str | None) -> dict[str, Any]:
    """BERT's tokenizer for vocab.txt: a token per line, its id the number of the line from 0.

    pair: how a text and its pair stand together, if not as BERT's: tokens, and "$A", "$B:1" for the two.
    """
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
        name: added_token(options[name]).content for name in SPECIAL_TOKENS if options.get(name)
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
    if pair is not None:
        cls, sep = special.get("cls_token", "[CLS]"), special.get("sep_token", "[SEP]")
        parts = pair.replace("[CLS]", cls).replace("[SEP]", sep)
        names = {part.split(":")[0] for part in parts.split()} - {"$A", "$B"}
        if missing := sorted(names - vocabulary.keys()):
            raise ModelError(f"{path} lacks {', '.join(missing)}, which stand in a pair of texts: {parts}")
        named = [(name, vocabulary[name]) for name in sorted(names)]
        made["post_processor"] = _template(f"{cls} $A {sep}", parts, named)
    return made


def _of_one_type(processor: Any) -> dict[str, Any]:
    """A post-processor that makes of texts and pairs the same tokens, all of type 0."""
    parts: list[dict[str, Any]] = [processor] if processor else []
    if parts and parts[0]["type"] == "Sequence":
        parts = parts[0]["processors"]
    if not any(part["type"] == "TemplateProcessing" for part in parts):
        parts = [*parts, _template("$A", "$A $B", [])]  # changes types alone
    return {"type": "Sequence", "processors": [_untyped(part) for part in parts]}


def _untyped(part: dict[str, Any]) -> dict[str, Any]:
    """A post-processor, if a template without its types."""
    return part | {
        form: [{name: piece | {"type_id": 0} for name, piece in item.items()} for item in part[form]]
        for form in ("single", "pair")
        if part["type"] == "TemplateProcessing"
    }


def _template(single: str, pair: str, special_tokens: list[tuple[str, int]]) -> dict[str, Any]:
    """A post-processor in a tokenizer.json."""
    tokenizer = Tokenizer(BPE())
    tokenizer.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=special_tokens)
    made: dict[str, Any] = json.loads(tokenizer.to_str())["post_processor"]
    return made
