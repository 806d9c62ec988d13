"""Weights of a checkpoint: files to tensors, tensors into an encoder."""

from __future__ import annotations

import difflib
import hashlib
import pickle
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pyqrt.errors import ModelError
from pyqrt.models import Family
from pyqrt.nn import Encoder
from pyqrt.nn.huggingface import Source
from pyqrt.quantize.checkpoint.files import Directory
from pyqrt.quantize.checkpoint.sentence_transformers import Dense

# whose values float32 holds exactly
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_ONNX_FILES = ("model.onnx", "onnx/model.onnx")  # as exporters and sentence-transformers name them
_TENSORFLOW_NAMES = {"gamma": "weight", "beta": "bias"}


def read_weights(
    directory: Directory, encoder: Encoder, family: Family
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of the checkpoint by name, and the SHA-256 (hexadecimal) of every weight file by name.

    model.safetensors is preferred to pytorch_model.bin, which is unpickled with weights_only; either may
    be split into shards listed in `<file>.index.json`. Without them an exported float model.onnx gives
    what `encoder` of `family` needs. Raises ModelError for absent or damaged files.
    """
    for name in _WEIGHT_FILES:
        if directory.has(name):
            shards = [name]
            listed: dict[str, str] = {}
        elif directory.has(f"{name}.index.json"):
            listed = _weight_map(directory, f"{name}.index.json")
            shards = sorted(set(listed.values()))
        else:
            continue
        tensors: dict[str, Tensor] = {}
        for shard in shards:
            tensors |= _read_shard(directory.open(shard))
        if absent := [f"{tensor} ({listed[tensor]})" for tensor in listed if tensor not in tensors]:
            raise ModelError(
                f"{directory.path}/{name}.index.json lists tensors that their files lack: {_listing(absent)}"
            )
        return tensors, {shard: _sha256(directory.path / shard) for shard in shards}
    for name in _ONNX_FILES:
        folder, _, file = name.rpartition("/")
        if (directory.path / name).is_file():
            path = directory.child(folder).open(file)
            return _read_onnx(path, encoder, family), {name: _sha256(path)}
    raise ModelError(
        f"{directory.path}: no weights; expected {' or '.join(_WEIGHT_FILES)} (or their .index.json), or "
        f"{_ONNX_FILES[0]}. Save the checkpoint with transformers' save_pretrained"
    )


def dense_sources(dense: Dense) -> dict[str, Source]:
    """Parameters of the encoder that a sentence-transformers module holds, and its names for them."""
    parts = ("weight", "bias") if dense.bias else ("weight",)
    return {f"head.transform.{part}": Source((f"{dense.name}.linear.{part}",)) for part in parts}


def read_dense(dense: Dense) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As `read_weights`, of a sentence-transformers module; names begin with its folder's."""
    for name in _WEIGHT_FILES:
        if dense.folder.has(name):
            path = dense.folder.open(name)
            tensors = {f"{dense.name}.{key}": tensor for key, tensor in _read_shard(path).items()}
            return tensors, {f"{dense.name}/{name}": _sha256(path)}
    raise ModelError(f"{dense.folder.path}: no weights; expected {' or '.join(_WEIGHT_FILES)}")


def _weight_map(directory: Directory, name: str) -> dict[str, str]:
    weight_map = directory.object(name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{directory.path / name}: there is no weight_map")
    return {str(tensor): str(file) for tensor, file in weight_map.items()}


def _read_shard(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ModelError(f"{path}: damaged or truncated ({error}); download it again") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(
            f"{path}: damaged, or holds more than tensors ({error}); convert it to model.safetensors"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: not a dictionary of tensors; convert it to model.safetensors")
    return state


def _read_onnx(path: Path, encoder: Encoder, family: Family) -> dict[str, Tensor]:
    from pyqrt.onnx import require

    require("onnx")
    from pyqrt.onnx.weights import read_weights as read_onnx

    names = {parameter: source.names for parameter, source in family.parameters(encoder.config).items()}
    shapes = {parameter: list(tensor.shape) for parameter, tensor in encoder.named_parameters()}
    arrays = read_onnx(path, names, shapes, encoder.config.layer_order)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _listing(names: Iterable[str], limit: int = 12) -> str:
    names = list(names)
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def canonical_name(name: str, prefix: str | tuple[str, ...]) -> str:
    """Without the family's prefix, and with today's names for what TensorFlow calls gamma and beta."""
    for start in (prefix,) if isinstance(prefix, str) else prefix:
        name = name.removeprefix(start)
    return re.sub(r"(?<=LayerNorm\.)(gamma|beta)$", lambda match: _TENSORFLOW_NAMES[match[1]], name)


def load_weights(
    encoder: Encoder,
    tensors: dict[str, Tensor],
    family: Family,
    source: Path,
    also: Mapping[str, Source] | None = None,
) -> None:
    """Put a checkpoint's tensors into `encoder`, as float32 copies.

    The encoder's own parameters are replaced, so it may be on the meta device. source: the checkpoint,
    for messages. also: where parameters are that the family knows nothing of. Raises ModelError naming
    every tensor that is missing, left over, of the wrong shape or type, ambiguous, or holds an infinity or
    NaN.
    """
    sources = {**family.parameters(encoder.config), **(also or {})}
    by_name: dict[str, str] = {}
    problems = []
    for name in tensors:
        canonical = canonical_name(name, family.PREFIX)
        if canonical in by_name:
            problems.append(f"{name} and {by_name[canonical]} are the same tensor twice")
        by_name[canonical] = name

    state: dict[str, Tensor] = {}
    missing: list[str] = []
    known = {name for entry in sources.values() for name in (*entry.names, entry.further)}
    for parameter, target in encoder.named_parameters():
        entry, shape = sources[parameter], list(target.shape)
        found = next((name for name in entry.names if name in by_name), None)
        if found is None or (entry.further and entry.further not in by_name):
            absent = entry.names[0] if found is None else entry.further
            nearest = difflib.get_close_matches(absent, by_name.keys() - known, n=1, cutoff=0.8)
            hint = f" (nearest: {by_name[nearest[0]]})" if nearest else ""
            missing.append(f"{absent} {shape}{hint}")
            continue
        tensor = tensors[by_name[found]]
        for other in entry.same:
            if other in by_name and not torch.equal(tensors[by_name[other]], tensor):
                problems.append(
                    f"{by_name[found]} and {by_name[other]} differ, but the configuration ties them "
                    "(tie_word_embeddings): set it to false, or remove the one that is not meant"
                )
        if entry.further:
            columns = tensors[by_name[entry.further]].T
            if columns.dim() != 2 or len(columns) != len(tensor):
                there = list(columns.T.shape)
                problems.append(f"{by_name[entry.further]} has shape {there}, expected {len(tensor)} columns")
                continue
            tensor = torch.cat([tensor, columns], dim=1)
        whole = [shape[0] * entry.parts, *shape[1:]]
        convolution = entry.kernel > 0 and len(shape) > 1
        if convolution:
            whole = [shape[0], shape[1] // entry.kernel, entry.kernel]
        if list(tensor.shape) != whole:
            problems.append(f"{by_name[found]} has shape {list(tensor.shape)}, expected {whole}")
        elif tensor.dtype not in _DTYPES:
            problems.append(f"{by_name[found]} is {tensor.dtype}, expected one of {_DTYPES}")
        else:
            if convolution:
                tensor = tensor.flip(2).transpose(1, 2).flatten(1)
            split = tensor.reshape(entry.groups, entry.parts, -1, *shape[1:])
            part = split[:, entry.part].flatten(0, 1)
            state[parameter] = part.to(torch.float32, copy=True)
            if not state[parameter].isfinite().all():
                problems.append(f"{by_name[found]} holds infinities or NaNs")
    extra = [
        name
        for canonical, name in by_name.items()
        if canonical not in known and not any(fnmatchcase(canonical, f"{start}*") for start in family.UNUSED)
    ]
    if missing:
        problems.append(f"missing tensors: {_listing(missing)}")
    if extra:
        problems.append(f"tensors without a use in {family.MODEL_TYPE}: {_listing(extra)}")
    if problems:
        raise ModelError(f"{source}: " + "; ".join(problems))
    encoder.load_state_dict(state, assign=True)
