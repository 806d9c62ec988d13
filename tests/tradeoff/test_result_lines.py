"""The results file: what is written is documented, read again, merged; what is broken is named."""

from __future__ import annotations

import json
from pathlib import Path

import made_results
import pytest

from pyqrt.errors import ModelError
from pyqrt.tradeoff.results import FIELDS, ResultsFile, read_results

README = Path(__file__).parents[2] / "pyqrt" / "tradeoff" / "README.md"


def test_every_field_is_documented() -> None:
    """The README has a table for every kind of record, whose first column names its fields."""
    text = README.read_text().partition("## The results file")[2]
    for kind, fields in FIELDS.items():
        section = text.partition(f"`{kind}`:")[2].partition("\n\n`")[0]
        documented = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
        assert {name.partition(".")[0] for name in documented} == set(fields), kind


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = made_results.write(tmp_path / "a.jsonl")
    (run,) = read_results([path])
    assert run.record == json.loads(path.read_text().splitlines()[0])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {kind: len(own) for kind, own in run.records.items()} == {
        kind: sum(line["kind"] == kind for line in lines) for kind in FIELDS if kind != "run"
    }


def test_only_a_line_end_ends_a_line(tmp_path: Path) -> None:
    """JSON has some of what str.splitlines cuts at inside its strings."""
    name = "CPU \x85 \u2028 \u2029 \x7f"
    (run,) = read_results([made_results.write(tmp_path / "a.jsonl", cpu=name)])
    assert run.record["machine"]["cpu"] == name


def test_a_line_that_a_kill_left_unfinished_is_taken_away(tmp_path: Path) -> None:
    path = made_results.write(tmp_path / "a.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    file = ResultsFile(path)
    assert path.read_bytes() == whole[: whole[:-1].rfind(b"\n") + 1]
    (run,) = file.runs.values()
    turns = len(run.records["turn"])
    file.append(
        "turn", run.id, **{k: v for k, v in run.records["turn"][0].items() if k not in ("kind", "run")}
    )
    assert len(read_results([path])[0].records["turn"]) == turns + 1


def test_files_are_merged_and_a_file_given_twice_counts_once(tmp_path: Path) -> None:
    first = made_results.write(tmp_path / "a.jsonl")
    second = made_results.write(tmp_path / "b.jsonl", "b" * 12, cpu="CPU two")
    alone = read_results([first])
    assert read_results([first, first]) == alone
    assert read_results([first, second]) == alone + read_results([second])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: ["{", *lines], "is not JSON"),
        (lambda lines: [*lines, "[" * 100000], "is not JSON"),
        (lambda lines: [*lines, "1" * 5000], "is not JSON"),
        (lambda lines: [*lines, "[1]"], "is not a JSON object"),
        (
            lambda lines: [lines[0].replace('"schema": 1', '"schema": 2'), *lines[1:]],
            "schema is 2; this version",
        ),
        (lambda lines: lines[1:], "belongs to run '0123456789ab', which no line before"),
        (lambda lines: [*lines, lines[-1].replace("joules", "jewels")], "needs the field 'joules'"),
        (lambda lines: [*lines, lines[-1].replace('"turn"', '"trun"')], "kind is 'trun'; known: run,"),
        (lambda lines: [*lines, lines[-1].replace('"threads": 1', '"threads": "1"')], "threads is '1'"),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, change: object, message: str) -> None:
    path = made_results.write(tmp_path / "a.jsonl", models=("small-model",), rounds=1)
    assert callable(change)
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(ModelError, match=rf"a\.jsonl, line \d+.*{message}"):
        read_results([path])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read the results .*none\.jsonl"):
        read_results([tmp_path / "none.jsonl"])
