"""The settings of post-training quantization, read from small TOML files (`recipes/`)."""

from __future__ import annotations

import json
import sys
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from pyqrt.arithmetic import Polynomial
from pyqrt.errors import ModelError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Observer = Literal["minmax", "percentile", "mse"]
Rounding = Literal["gptq", "nearest"]
Grids = Literal["fitted", "symmetric"]


@dataclass(frozen=True)
class Recipe:
    """What the quantizer does; a recipe file names every field but `wide`, which may be left out.

    observer: how an int8 range is taken from the values: all of it, its central 99.99 %, or the
    clipping with the least mean squared error.
    headroom: room of the int16 tensors above what calibration saw; at least 1.
    wide_noise: a feed-forward activation stays in 16 bits where 8 would add noise of more than this
    share of the residual stream's bulk power; inf: never.
    rounding: "gptq", weights and biases in the order they run (`round_weights`), or "nearest".
    damping: of "gptq", share of the mean input variance added to every input's.
    grids: of int8 tensors. "fitted": zero points, factors per channel, scales per head; "symmetric": one
    scale for a tensor and nothing else.
    polynomial: of the fused GELU and of softmax, "minimax" or "ibert" (`csrc/fixed`).
    wide: tensors that stay in 16 bits besides, by the name of their tap (`pyqrt.nn.Encoder.taps`): what
    linear layers read, but for the contexts of attention.
    """

    observer: Observer
    headroom: float
    wide_noise: float
    rounding: Rounding
    damping: float
    grids: Grids
    polynomial: Polynomial
    wide: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        choices = {"observer": Observer, "rounding": Rounding, "grids": Grids, "polynomial": Polynomial}
        for name, kind in choices.items():
            known = get_args(kind)
            if getattr(self, name) not in known:
                raise ModelError(f"{name} is {getattr(self, name)!r}; known: {', '.join(known)}")
        for name, least in (("headroom", 1.0), ("wide_noise", 0.0), ("damping", 0.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
                raise ModelError(f"{name} is {value!r}; it must be a number of at least {least:g}")
        if not 0 < self.damping <= 1:
            raise ModelError(f"damping is {self.damping!r}; it must lie in (0, 1]")
        if not isinstance(self.wide, (list, tuple)) or not all(isinstance(name, str) for name in self.wide):
            raise ModelError(f"wide is {self.wide!r}; it must be a list of names of tensors")
        object.__setattr__(self, "wide", tuple(self.wide))

    def to_dict(self) -> dict[str, Any]:
        """For the file's provenance, in strict JSON: infinity as a string, a tuple as a list."""
        plain = {key: str(value) if value == float("inf") else value for key, value in asdict(self).items()}
        return plain | {"wide": list(self.wide)}

    def to_toml(self) -> str:
        """The text of a recipe file that `read_recipe` reads as this recipe."""
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        return "".join(
            f"{key} = {value if isinstance(value, float) else json.dumps(value)}\n"
            for key, value in values.items()
        )


def bundled_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(p.name.removesuffix(".toml") for p in _folder().iterdir() if p.name.endswith(".toml"))


def read_recipe(name: str | Path) -> Recipe:
    """A bundled recipe by its name, or any recipe file ending in `.toml`. Raises ModelError."""
    names = bundled_recipes()
    try:
        if str(name) in names:
            text = _folder().joinpath(f"{name}.toml").read_text(encoding="utf-8")
        elif str(name).endswith(".toml"):
            text = Path(name).read_text(encoding="utf-8")
        else:
            raise ModelError(f"recipe {str(name)!r} is neither one of {', '.join(names)} nor a .toml file")
        values = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"cannot read recipe {name}: {error}") from error
    known = [field.name for field in fields(Recipe)]
    needed = [field.name for field in fields(Recipe) if field.default is MISSING]
    unknown, missing = [k for k in values if k not in known], [k for k in needed if k not in values]
    if unknown or missing:
        raise ModelError(
            f"recipe {name}: "
            + "; ".join(
                f"{what} {', '.join(keys)}"
                for what, keys in (("unknown", unknown), ("missing", missing))
                if keys
            )
            + f"; a recipe has {', '.join(known)}"
        )
    try:
        return Recipe(**values)
    except ModelError as error:
        raise ModelError(f"recipe {name}: {error}") from None


def _folder() -> Any:
    return files(__package__).joinpath("recipes")
