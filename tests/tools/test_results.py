"""The table of results: computed once, resumable, and its numbers those of its lines."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import finetune
import results
from pyqrt.errors import ModelError
from tiny_checkpoint import checkpoint


def separable(path: Path, count: int) -> None:
    """Positive if there is an `x` among the letters."""
    draw = random.Random(count)
    lines = ["sentence\tlabel"]
    for index in range(count):
        letters = [draw.choice("abcd") for _ in range(draw.randint(2, 9))]
        letters += ["x"] * (index % 2)
        lines.append(" ".join(letters) + f"\t{index % 2}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "data" / "sst2").mkdir(parents=True)
    separable(tmp_path / "data" / "sst2" / "train.tsv", 200)
    separable(tmp_path / "data" / "sst2" / "dev.tsv", 40)
    monkeypatch.setattr(
        results, "RECIPES", {"sst2": results.Recipe(epochs=16, learning_rate=5e-3, limit=160)}
    )
    source = checkpoint(tmp_path / "bert")
    return [
        *("results.py", str(source), "--data", str(tmp_path / "data"), "--work", str(tmp_path / "work")),
        *("--seeds", "5"),
    ]


def test_a_table_from_a_checkpoint_and_no_work_twice(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", arguments)
    assert results.main() == 0
    (line,) = (tmp_path / "work" / "results.jsonl").read_text().splitlines()
    cell = json.loads(line)
    assert (cell["task"], cell["seed"], cell["variant"], cell["examples"]) == ("sst2", 5, "ptq", 40)
    assert cell["scores"][0]["integer"]["value"] == 1.0
    assert [command.split()[0] for command in cell["commands"]] == ["python", "pyqrt", "pyqrt"]
    drawn = (tmp_path / "work" / "sst2-5" / "train.tsv").read_text().splitlines()
    assert len(drawn) == 161
    assert str(tmp_path / "work" / "sst2-5" / "train.tsv") in cell["commands"][0]
    assert "--bfloat16" not in cell["commands"][0]
    assert "| sst2 | accuracy | 5 | 100.00 | 100.00 |" in capsys.readouterr().out

    ran: list[list[str]] = []
    run = results.Commands.run
    monkeypatch.setattr(
        results.Commands, "run", lambda self, command, log: ran.append(command) or run(self, command, log)
    )
    again = "again=pyqrt quantize {checkpoint} -o {model} --force --recipe plain"
    monkeypatch.setattr("sys.argv", [*arguments, "--variant", again])
    assert results.main() == 0
    # nothing trained, ptq not repeated
    assert [command[:2] for command in ran] == [["pyqrt", "quantize"], ["pyqrt", "eval"]]
    assert "| float | ptq | again |" in (tmp_path / "work" / "results.md").read_text()
    first, second = map(json.loads, (tmp_path / "work" / "results.jsonl").read_text().splitlines())
    assert first["scores"][0]["float"] == second["scores"][0]["float"]
    assert second["scores"][0]["difference"] is not None
    assert results.main() == 0
    assert len(ran) == 2


def test_a_seed_is_done_before_the_next(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[int, str]] = []
    monkeypatch.setattr(results, "finetune", lambda _, __, work: done.append((work.seed, "float")))
    monkeypatch.setattr(results, "compute", lambda _, __, ___, work, name: done.append((work.seed, name)))
    monkeypatch.setattr("sys.argv", [*arguments[:-1], "3", "1", "--variant", "again=pyqrt"])
    assert results.main() == 0
    assert done == [(seed, name) for seed in (3, 1) for name in ("float", "again", "ptq")]


def test_what_fails_is_told(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise ModelError("no such thing")

    monkeypatch.setattr(results, "finetune", fails)
    monkeypatch.setattr("sys.argv", arguments)
    assert results.main() == 1
    assert "results: no such thing" in capsys.readouterr().err


def test_commands_that_run_can_be_stopped(tmp_path: Path) -> None:
    commands = results.Commands(1)
    log = tmp_path / "log"
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(
            commands.run, ["python", "-c", "import time; print('up', flush=True); time.sleep(600)"], log
        )
        while not (log.exists() and log.read_text()):
            assert not future.done()
        commands.stop()
        with pytest.raises(ModelError, match="exit status -15"):
            future.result(timeout=60)


def test_limits_draw_a_file_that_everything_reads(tmp_path: Path) -> None:
    source = tmp_path / "all.tsv"
    source.write_text("sentence\tlabel\na\x85b\t0\nc\t1\nd\t0\n")
    assert results.draw(source, None, 0, tmp_path) == source
    assert results.draw(source, 3, 0, tmp_path) == source
    drawn = results.draw(source, 2, 0, tmp_path)
    header, *lines = drawn.read_text().split("\n")
    assert header == "sentence\tlabel"
    assert len(lines) == 3
    assert lines[-1] == ""
    assert set(lines[:-1]) < {"a\x85b\t0", "c\t1", "d\t0"}
    assert results.draw(source, 2, 0, tmp_path) == drawn
    with pytest.raises(ModelError, match="other examples than --limit 1 draws"):
        results.draw(source, 1, 0, tmp_path)


def test_a_cut_line_is_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"task": "rte", "seed": 0, "variant": "ptq"}\n{"task": "rte", "se')
    read = results.Results(path)
    assert len(read.cells) == 1
    assert read.find("rte", 0, "ptq") is not None
    assert read.find("rte", 1, "ptq") is None
    read.add({"task": "rte", "seed": 1, "variant": "ptq"})
    assert len(results.Results(path).cells) == 2


def cell(task: str, seed: int, variant: str, integer: float, floats: float) -> dict[str, Any]:
    score = {"metric": "accuracy", "integer": {"value": integer}, "float": {"value": floats}}
    return {"task": task, "seed": seed, "variant": variant, "scores": [score]}


def test_the_table_holds_medians_over_seeds_and_the_mean_over_tasks() -> None:
    cells = [cell("cola", 0, "ptq", 0.9, 0.8), cell("cola", 0, "qat", 0.9, 0.8)]
    cells += [cell("mrpc", seed, "ptq", 0.5 + 0.01 * seed, 0.6) for seed in (0, 1, 7)]
    cells += [cell("mrpc", 0, "qat", 0.7, 0.6)]
    assert results.table(cells, ["ptq", "qat"]).splitlines()[2:] == [
        "| mrpc | accuracy | 0 1 7 | 60.00 | 51.00 | 70.00 |",
        "| cola | accuracy | 0 | 80.00 | 90.00 | 90.00 |",
        "| mean | of first metrics | | 70.00 | 70.50 | 80.00 |",
    ]
    assert "| - |" in results.table(cells[:1], ["ptq", "qat"])


def test_a_command_that_fails_stops_with_its_text(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=r"exit status 3 of: python -c .*\nsaid before"):
        results.Commands(1).run(["python", "-c", "print('said before'); exit(3)"], tmp_path / "log")
    monkeypatch.setattr("sys.argv", [*arguments, "--jobs", "0"])
    with pytest.raises(SystemExit):
        results.main()
    assert "--jobs 0: expected 1 to" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*arguments, "--variant", "nameless"])
    with pytest.raises(SystemExit):
        results.main()
    assert "expected NAME=COMMAND" in capsys.readouterr().err
    for limit in ("sst2", "sst2=1", "no=5"):
        monkeypatch.setattr("sys.argv", [*arguments, "--limit", limit])
        with pytest.raises(SystemExit):
            results.main()
        assert "expected TASK=EXAMPLES" in capsys.readouterr().err


def test_finetune_tells_errors_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = checkpoint(tmp_path / "bert"), tmp_path / "tuned"
    separable(tmp_path / "train.tsv", 4)
    options = ["--task", "rte", "--data", str(tmp_path / "train.tsv"), "-o", str(output)]
    monkeypatch.setattr("sys.argv", ["finetune.py", str(source), *options])
    assert finetune.main() == 1
    assert "needed are sentence1, sentence2, label" in capsys.readouterr().err.splitlines()[-1]
