"""What a sentence-transformers directory adds to a Hugging Face one: pooling, normalisation, length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.nn import Pooling
from pyqrt.quantize.checkpoint.files import Directory

_POOLING_OF_MODE: dict[str, Pooling] = {
    "mean": "mean",
    "mean_tokens": "mean",
    "cls": "first",
    "cls_token": "first",
    "lasttoken": "last",
    "max": "max",
    "max_tokens": "max",
}


@dataclass(frozen=True)
class SentenceTransformer:
    """transformer: where config.json and weights are. max_length: tokens, None if not stated.

    lowercase: text is lowercased before it is tokenized.
    """

    transformer: Directory
    pooling: Pooling
    normalize: bool
    max_length: int | None
    lowercase: bool


def read_sentence_transformer(directory: Directory) -> SentenceTransformer | None:
    """The directory's modules, or None if it has no modules.json.

    Raises ModelError, naming it, for a module, a pooling mode or an option that changes embeddings
    and is not implemented.
    """
    if not directory.has("modules.json"):
        return None
    where = directory.path / "modules.json"
    modules = directory.json("modules.json")
    try:
        ordered = sorted(modules, key=lambda module: int(module["idx"]))
        kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in ordered]
        paths = [str(module["path"]) for module in ordered]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{where}: expected a list of modules with idx, type and path ({error})") from None
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ModelError(
            f"{where}: modules {', '.join(kinds)}; implemented: Transformer, Pooling, optionally Normalize"
        )

    shared = directory.optional_object("config_sentence_transformers.json")
    for name in ("default_prompt_name", "truncate_dim"):
        if shared.get(name) is not None:
            raise ModelError(
                f"{directory.path}/config_sentence_transformers.json: {name} is {shared[name]!r}, "
                "which is not implemented; set it to null and prepend the prompt or cut embeddings yourself"
            )
    transformer = directory.child(paths[0])
    own = _transformer_options(transformer)
    return SentenceTransformer(
        transformer=transformer,
        pooling=_pooling(directory.child(paths[1])),
        normalize="Normalize" in kinds,
        max_length=own.get("max_seq_length"),
        lowercase=bool(own.get("do_lower_case")),
    )


def _transformer_options(transformer: Directory) -> dict[str, Any]:
    """sentence_bert_config.json, or one of its older names, as sentence_roberta_config.json."""
    names = sorted(path.name for path in transformer.path.glob("sentence_*_config.json"))
    if len(names) > 1:
        raise ModelError(f"{transformer.path}: {' and '.join(names)} compete; keep one")
    return transformer.object(names[0]) if names else {}


def _pooling(folder: Directory) -> Pooling:
    options = folder.object("config.json")
    mode = options.get("pooling_mode")
    if isinstance(mode, str):
        modes = [mode]
    else:
        flags = {"pooling_mode_mean_tokens": True} | options
        prefix = "pooling_mode_"
        modes = [name.removeprefix(prefix) for name in flags if name.startswith(prefix) and flags[name]]
    if len(modes) != 1 or modes[0] not in _POOLING_OF_MODE:
        raise ModelError(
            f"{folder.path}/config.json: pooling {' + '.join(modes) or '(none)'}; "
            "implemented is mean, cls, lasttoken or max"
        )
    return _POOLING_OF_MODE[modes[0]]
