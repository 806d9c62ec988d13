"""Recipes: bundled ones are whole, files are read, mistakes are named."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pyqrt.errors import ModelError
from pyqrt.quantize.recipe import bundled_recipes, read_recipe


def test_bundled_recipes_differ_and_default_is_one_of_them() -> None:
    names = bundled_recipes()
    assert "default" in names
    assert len({read_recipe(name) for name in names}) == len(names)


def text(**changes: object) -> str:
    settings = {key: repr(value).replace("'", '"') for key, value in asdict(read_recipe("default")).items()}
    settings["wide"] = "[]"
    settings |= {key: str(value) for key, value in changes.items()}
    return "\n".join(f"{key} = {value}" for key, value in settings.items() if value != "None")


def test_a_file_is_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text(wide_noise="inf"))
    recipe = read_recipe(path)
    assert recipe.wide_noise == float("inf")
    assert recipe.to_dict()["wide_noise"] == "inf"
    assert recipe.to_dict()["rounding"] == "gptq"


def test_a_recipe_survives_a_file(tmp_path: Path) -> None:
    recipe = replace(read_recipe("default"), wide_noise=float("inf"), wide=("layers.0.ffn.activation", 'a"b'))
    (tmp_path / "own.toml").write_text(recipe.to_toml())
    assert read_recipe(tmp_path / "own.toml") == recipe
    (tmp_path / "old.toml").write_text(text(wide=None))
    assert read_recipe(tmp_path / "old.toml").wide == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text(magic=1), "unknown magic; a recipe has observer"),
        (text(damping=None), "missing damping; a recipe has"),
        (text(observer='"psychic"'), "observer is 'psychic'; known: minmax, percentile, mse"),
        (text(rounding='"up"'), "rounding is 'up'; known: gptq, nearest"),
        (text(headroom=0.5), "headroom is 0.5; it must be a number of at least 1"),
        (text(headroom="nan"), "headroom is nan"),
        (text(wide_noise="true"), "wide_noise is True"),
        (text(wide='"all"'), "wide is 'all'; it must be a list of names"),
        (text(wide="[1]"), r"wide is \[1\]; it must be a list of names"),
        (text(damping=0.0), r"damping is 0.0; it must lie in \(0, 1\]"),
        ("observer = ", "cannot read recipe"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(content)
    with pytest.raises(ModelError, match=message):
        read_recipe(path)


def test_missing_files_and_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read recipe"):
        read_recipe(tmp_path / "missing.toml")
    with pytest.raises(ModelError, match=r"neither one of .*default.* nor a \.toml file"):
        read_recipe("magic")
