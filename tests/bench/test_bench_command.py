"""`pyqrt bench`: its table, its report, its errors, on a small model."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import small_model
from typer.testing import CliRunner, Result

from pyqrt.bench.latency import measure
from pyqrt.bench.work import multiply_accumulates, weight_bytes
from pyqrt.cli import app
from pyqrt.errors import ModelError
from pyqrt.runtime import load

LONGEST = small_model.LENGTH
README = Path(__file__).parents[2] / "pyqrt" / "bench" / "README.md"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model.save(tmp_path_factory.mktemp("bench") / "small.qrt", small_model.SEQUENCE)


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


@pytest.fixture(scope="module")
def report(path: Path) -> dict[str, Any]:
    return measure(
        path,
        lengths=[4, LONGEST],
        batches=[1, 3],
        mixed=5,
        threads=[1, 2],
        parallel=["rows", "texts"],
        seconds=0.01,
    )


def keys_of(value: Any) -> set[str]:
    """Every key of a report, with its path; the items of a list are alike."""
    if isinstance(value, list):
        return {key for item in value for key in keys_of(item)}
    if not isinstance(value, dict):
        return set()
    return set(value) | {f"{key}.{inner}" for key, item in value.items() for inner in keys_of(item)}


def test_report_is_as_documented(report: dict[str, Any]) -> None:
    """The first column of the README's table of fields, and the report, name the same."""
    section = README.read_text().partition("## The report")[2]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    documented = {line.split("`")[1] for line in lines}
    shown = {key for key in keys_of(report) if not key.startswith("kernels.")}
    # A field that holds fields is documented by them.
    leaves = {key for key in shown if not any(other.startswith(f"{key}.") for other in shown)}
    assert leaves == documented


def test_every_combination_is_measured(report: dict[str, Any]) -> None:
    lengths = {(4,), (LONGEST,), (4,) * 3, (LONGEST,) * 3, (4, 9, 14, 19, LONGEST)}
    found = [(row["threads"], row["parallel"], tuple(row["lengths"])) for row in report["results"]]
    assert sorted(found) == sorted(product((1, 2), ("rows", "texts"), lengths))


def test_figures_follow_from_each_other(path: Path, report: dict[str, Any]) -> None:
    model = load(path)
    limits = {limit["threads"]: limit for limit in report["limits"]}
    assert report["isa"] == model.describe()["isa"]
    assert report["model"]["weight_bytes"] == weight_bytes(model.program)
    for row in report["results"]:
        limit, seconds = limits[row["threads"]], row["seconds"]
        assert row["tokens"] == sum(row["lengths"])
        assert row["macs"] == multiply_accumulates(model.program, row["lengths"])
        arithmetic = row["macs"] / limit["macs_per_second"]
        memory = report["model"]["weight_bytes"] / limit["read_bytes_per_second"]
        assert row["limit_seconds"] == max(arithmetic, memory)
        assert row["limited_by"] == ("arithmetic" if arithmetic >= memory else "memory")
        assert 0 < seconds["p10"] <= seconds["median"] <= seconds["p90"]
        assert seconds["calls"] >= 10
        assert row["tokens_per_second"] == row["tokens"] / seconds["median"]
        assert row["ratio_to_limit"] == {
            name: seconds[name] / row["limit_seconds"] for name in ("median", "p10")
        }


def test_table_and_file(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    arguments = ("--lengths", "4,8", "--batch", "2", "--mixed", 0, "--threads", "1", "--seconds", 0.01)
    result = invoke(path, *arguments, "--json", target)
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(target.read_text())
    assert [row["workload"] for row in report["results"]] == ["2 x 4", "2 x 8"]
    for row in report["results"]:
        (line,) = [line for line in result.stdout.splitlines() if f" {row['workload']} " in line]
        assert f"{row['seconds']['median'] * 1e3:.3f}" in line.split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lengths", "4,x"), "--lengths has 'x'; give whole numbers"),
        (("--lengths", 10**23), f"--lengths has '{10**23}'; give whole numbers up to 2147483647"),
        (("--batch", 10**23), "--batch has"),
        (("--threads", 10**23), "--threads has"),
        (("--lengths", "0"), "lengths is [0]; give one or more numbers, each at least 1"),
        (("--lengths", LONGEST + 1), f"a length is {LONGEST + 1} tokens; the model takes at most {LONGEST}"),
        (("--lengths", "4", "--batch", "2,2"), "batch is [2, 2]; give each number once"),
        (("--lengths", "4", "--threads", "-1"), "threads is [-1]"),
        (("--lengths", "4", "--parallel", "words"), "parallel is 'words'; give 'rows' or 'texts'"),
        (
            ("--lengths", "4", "--parallel", "texts,texts"),
            "parallel is ['texts', 'texts']; give one or more of rows and texts, each once",
        ),
        (("--lengths", "4", "--seconds", "nan"), "seconds is nan; give a positive number"),
    ],
)
def test_bad_options(path: Path, arguments: tuple[Any, ...], message: str) -> None:
    result = invoke(path, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_negative_mixed_batch(path: Path) -> None:
    with pytest.raises(ModelError, match="mixed is -1; give a number of sequences"):
        measure(path, lengths=[4], mixed=-1)
