"""What a sentence-transformers directory adds to a Hugging Face one: pooling, a linear layer, length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.nn import Pooling
from pyqrt.nn.config import Head
from pyqrt.nn.huggingface import architecture_of
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
# Classes of torch.nn that a Dense module may name, as pyqrt.nn.activations calls them.
_ACTIVATION_OF_CLASS = {
    "GELU": "gelu",
    "Identity": "linear",
    "ReLU": "relu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}
_PACKAGE = "sentence_transformers."
# Arguments for transformers' loaders that change no result.
_WITHOUT_EFFECT = {
    "attn_implementation",
    "cache_dir",
    "device_map",
    "dtype",
    "local_files_only",
    "low_cpu_mem_usage",
    "revision",
    "token",
    "torch_dtype",
    "trust_remote_code",
    "use_fast",
}


@dataclass(frozen=True)
class Dense:
    """A linear layer over the pooled row and an activation. name: of its folder in the model's."""

    folder: Directory
    name: str
    inputs: int
    outputs: int
    bias: bool
    activation: str


@dataclass(frozen=True)
class SentenceTransformer:
    """transformer: where config.json and weights are. max_length: tokens, None if not stated.

    dense: None if there is no such module. lowercase: text is lowercased before it is tokenized.
    """

    transformer: Directory
    pooling: Pooling
    dense: Dense | None
    normalize: bool
    max_length: int | None
    lowercase: bool

    def head(self, head: Head, hidden_size: int) -> Head:
        """An encoder's head for embeddings, as the modules say. Raises ModelError where they do not fit."""
        head = replace(head, pooling=self.pooling, normalize=self.normalize)
        if self.dense is None:
            return head
        if head.transform_activation is not None:
            raise ModelError(
                "a Dense module above an encoder that projects its embeddings is not implemented"
            )
        if self.dense.inputs != hidden_size:
            where = self.dense.folder.path / "config.json"
            raise ModelError(f"{where}: in_features is {self.dense.inputs}; embeddings have {hidden_size}")
        return replace(
            head,
            transform_activation=self.dense.activation,
            transform_size=self.dense.outputs,
            transform_bias=self.dense.bias,
        )


def read_sentence_transformer(directory: Directory) -> SentenceTransformer | None:
    """The directory's modules, or None if it has no modules.json, or that of a model with a head of its own.

    Raises ModelError, naming it, for a module, a pooling mode or an option that changes embeddings
    and is not implemented.
    """
    if not directory.has("modules.json"):
        return None
    where = directory.path / "modules.json"
    modules = directory.json("modules.json")
    try:
        ordered = sorted(modules, key=lambda module: int(module["idx"]))
        types = [str(module["type"]) for module in ordered]
        paths = [str(module["path"]) for module in ordered]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{where}: expected a list of modules with idx, type and path ({error})") from None
    for name in types:
        if not name.startswith(_PACKAGE):
            raise ModelError(f"{where}: module {name} is not of sentence-transformers; its code is not run")
    kinds = [name.rsplit(".", 1)[-1] for name in types]
    if kinds == ["Transformer"] and paths == [""] and _has_head(directory):
        return None
    dense = paths[2] if kinds[2:3] == ["Dense"] else None
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[3 if dense else 2 :] not in ([], ["Normalize"]):
        raise ModelError(
            f"{where}: modules {', '.join(kinds)}; implemented: Transformer, Pooling, optionally one Dense, "
            "optionally Normalize"
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
    if "Normalize" in kinds and (directory.path / paths[-1]).is_dir():  # empty ones may not have come along
        _refuse_other_input(directory.child(paths[-1]))
    return SentenceTransformer(
        transformer=transformer,
        pooling=_pooling(directory.child(paths[1])),
        dense=_dense(directory.child(dense), dense) if dense else None,
        normalize="Normalize" in kinds,
        max_length=own.get("max_seq_length"),
        lowercase=bool(own.get("do_lower_case")),
    )


def _has_head(directory: Directory) -> bool:
    """Whether the architecture is more than an encoder, as a CrossEncoder's; it is read by that."""
    return not architecture_of(directory.object("config.json")).endswith(("Model", "(none)"))


def _transformer_options(transformer: Directory) -> dict[str, Any]:
    """sentence_bert_config.json, or one of its older names, as sentence_roberta_config.json.

    Raises ModelError for what changes the tokens or embeddings and stands in no other file.
    """
    names = sorted(path.name for path in transformer.path.glob("sentence_*_config.json"))
    if len(names) > 1:
        raise ModelError(f"{transformer.path}: {' and '.join(names)} compete; keep one")
    if not names:
        return {}
    where, options = transformer.path / names[0], transformer.object(names[0])
    for name, value in options.items():
        if name.endswith(("_args", "_kwargs")) and value:
            effective = sorted(set(value) - _WITHOUT_EFFECT) if isinstance(value, dict) else [str(value)]
            if effective:
                raise ModelError(
                    f"{where}: {name} sets {', '.join(effective)}, which is not read from there; "
                    "set it in config.json or tokenizer_config.json"
                )
    task = options.get("transformer_task", "feature-extraction")
    text = (options.get("modality_config") or {}).get("text") or {}
    output = text.get("method_output_name", "last_hidden_state")
    for name, value, wanted in (
        ("transformer_task", task, "feature-extraction"),
        ("method_output_name of text", output, "last_hidden_state"),
    ):
        if value != wanted:
            raise ModelError(f"{where}: {name} is {value!r}; implemented is {wanted!r}")
    return options


def _refuse_other_input(folder: Directory) -> None:
    """Raise ModelError if a module reads or writes something else than sentence_embedding."""
    options = folder.optional_object("config.json")
    read = options.get("module_input_name", "sentence_embedding")
    if read != "sentence_embedding" or options.get("module_output_name", read) != read:
        raise ModelError(
            f"{folder.path}/config.json: reads or writes something else than sentence_embedding; "
            "not implemented"
        )


def _pooling(folder: Directory) -> Pooling:
    options = folder.object("config.json")
    mode = options.get("pooling_mode")
    if mode is not None:
        modes = [str(name) for name in mode] if isinstance(mode, list) else [str(mode)]
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


def _dense(folder: Directory, name: str) -> Dense:
    where, options = folder.path / "config.json", folder.object("config.json")
    # as sentence-transformers has it where nothing is stated
    function = options.get("activation_function", "torch.nn.modules.activation.Tanh")
    activation = _ACTIVATION_OF_CLASS.get(str(function).rsplit(".", 1)[-1])
    if activation is None or not str(function).startswith("torch.nn."):
        known = ", ".join(_ACTIVATION_OF_CLASS)
        raise ModelError(f"{where}: activation_function is {function!r}; implemented of torch.nn: {known}")
    _refuse_other_input(folder)
    if options.get("use_residual"):
        raise ModelError(f"{where}: use_residual is {options['use_residual']!r}, which is not implemented")
    inputs, outputs = (_size(where, options, name) for name in ("in_features", "out_features"))
    return Dense(folder, name, inputs, outputs, bool(options.get("bias", True)), activation)


def _size(where: Path, options: dict[str, Any], name: str) -> int:
    size = options.get(name)
    if not isinstance(size, int) or size < 1:
        raise ModelError(f"{where}: {name} is {size!r}; expected a positive integer")
    return size
