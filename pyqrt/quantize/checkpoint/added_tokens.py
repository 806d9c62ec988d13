"""Tokens that a checkpoint adds to its vocabulary in files other than tokenizer.json."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer

from pyqrt.quantize.checkpoint.files import Directory

SPECIAL_TOKENS = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FURTHER_TOKENS = ("additional_special_tokens", "extra_special_tokens")  # lists, or objects by name
_FIELDS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def with_special_tokens(directory: Directory, options: dict[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json with the entries of special_tokens_map.json.

    As in transformers these win, and count only where the former has no `added_tokens_decoder`.
    """
    if "added_tokens_decoder" in options:
        return options
    stated = directory.optional_object("special_tokens_map.json")
    further = {name: [*_listed(options, name), *_listed(stated, name)] for name in _FURTHER_TOKENS}
    return options | stated | {name: tokens for name, tokens in further.items() if tokens}


def missing_tokens(
    directory: Directory, options: dict[str, Any], tokenizer: Tokenizer
) -> list[tuple[AddedToken, int | None]]:
    """Tokens never to be split that `tokenizer` lacks, in the order to add them, and their ids if stated.

    options: tokenizer_config.json `with_special_tokens`; without `added_tokens_decoder` in it
    added_tokens.json counts.
    """
    numbered = options.get("added_tokens_decoder")
    if numbered is None:
        added = directory.optional_object("added_tokens.json")
        wanted = [(AddedToken(token), int(number)) for token, number in added.items()]
    else:
        wanted = [(added_token(token), int(number)) for number, token in numbered.items()]
    named = [options[name] for name in (*SPECIAL_TOKENS, "bos_token", "eos_token") if options.get(name)]
    named += [token for name in _FURTHER_TOKENS for token in _listed(options, name)]
    every = [
        *sorted(wanted, key=lambda item: item[1]),
        *((added_token(token, special=True), None) for token in named),
    ]
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    missing: dict[str, tuple[AddedToken, int | None]] = {}
    for token, number in every:
        if token.content not in known:
            missing.setdefault(token.content, (token, number))
    return list(missing.values())


def added_token(token: Any, *, special: bool = False) -> AddedToken:
    """A token that is written as its text or as an AddedToken's fields."""
    if not isinstance(token, dict):
        return AddedToken(str(token), normalized=not special, special=special)
    fields = {name: bool(token[name]) for name in _FIELDS if name in token}
    return AddedToken(str(token["content"]), **(fields | ({"special": True} if special else {})))


def _listed(options: dict[str, Any], name: str) -> list[Any]:
    tokens = options.get(name) or []
    return list(tokens.values()) if isinstance(tokens, dict) else list(tokens)
