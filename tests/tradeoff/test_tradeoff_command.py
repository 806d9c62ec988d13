"""`pyqrt tradeoff` from models to files: scores, turns, a killed run, peers that are not there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pyqrt.cli import app
from pyqrt.errors import ModelError
from pyqrt.eval import evaluate
from pyqrt.tradeoff import candidates
from pyqrt.tradeoff.api import measure
from pyqrt.tradeoff.results import read_results
from tiny_checkpoint import checkpoint

QUICK: dict[str, Any] = {"lengths": ["real", 8], "batch": 9, "rounds": 2, "seconds": 0.01}


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["tradeoff", *map(str, arguments)])


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_scores_and_turns(model: Path, data: Path, tmp_path: Path) -> None:
    run = measure([model], "sst2", data, tmp_path, threads=[1, 2], **QUICK)
    (candidate,) = run.record["candidates"]
    assert (candidate["system"], candidate["checkpoint"]) == ("pyqrt", "small")
    (score,) = run.records["score"]
    (expected,) = evaluate(model, "sst2", data).scores
    found = score["scores"][0]
    assert (found["value"], found["low"], found["high"]) == (
        expected.integer.value,
        expected.integer.low,
        expected.integer.high,
    )
    assert (score["examples"], score["truncated"], score["reference"], found["difference"]) == (
        10,
        0,
        None,
        None,
    )
    turns = [(t["threads"], t["workload"], t["batching"], t["round"]) for t in run.records["turn"]]
    ways = [("1 x real", "single"), ("1 x 8", "single"), ("9 x real", "packed"), ("9 x real", "padded")]
    assert turns == [(t, *way, number) for t in (1, 2) for number in (0, 1) for way in ways]
    calls = {
        (item["workload"], item["batching"]): len(item["lengths"])
        for item in run.record["workloads"]["small"]
    }
    for turn in run.records["turn"]:
        assert turn["seconds"]
        assert len(turn["seconds"]) % calls[turn["workload"], turn["batching"]] == 0
        assert min(turn["seconds"]) > 0
    loads = run.records["load"]
    assert [load["threads"] for load in loads] == [1, 2]
    assert all(load["file_bytes"] == model.stat().st_size for load in loads)
    assert all(0 < load["load_seconds"] < load["start_seconds"] for load in loads)

    # The same again measures nothing; another setting is another run.
    before = (tmp_path / "results.jsonl").read_bytes()
    assert measure([model], "sst2", data, tmp_path, threads=[1, 2], **QUICK).records == run.records
    assert (tmp_path / "results.jsonl").read_bytes() == before
    other = measure([model], "sst2", data, tmp_path, threads=[1], **{**QUICK, "rounds": 1})
    assert other.id != run.id
    assert (tmp_path / "results.jsonl").read_bytes().startswith(before)


def test_a_killed_run_goes_on(model: Path, data: Path, tmp_path: Path) -> None:
    arguments = [str(model), "--task", "sst2", "--data", str(data), "-o", str(tmp_path)]
    arguments += ["--rounds", "40", "--seconds", "0.05", "--lengths", "8", "--batch", "0"]
    program = "import sys; from pyqrt.cli import app; app(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "tradeoff", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    file = tmp_path / "results.jsonl"
    end = time.monotonic() + 120
    while time.monotonic() < end and not (file.exists() and file.read_bytes().count(b'"turn"') >= 3):
        time.sleep(0.01)
    process.kill()
    process.wait()
    killed = file.read_bytes()
    done = killed.count(b'"kind": "turn"')
    assert 3 <= done < 40
    (before,) = read_results([file]) if killed.endswith(b"\n") else [None]
    assert before is None or len(before.records["score"]) == 1

    result = invoke(*arguments)
    assert result.exit_code == 0, result.stderr
    whole = killed[: killed.rfind(b"\n") + 1]
    assert file.read_bytes().startswith(whole)
    (run,) = read_results([file])
    assert [turn["round"] for turn in run.records["turn"]] == list(range(40))
    assert len(run.records["score"]) == 1
    assert (tmp_path / "report.html").exists()


def test_a_peer_beside_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    lacking = {"openvino": ["openvino", "nncf"]}
    monkeypatch.setattr(candidates, "missing_packages", lambda name: lacking.get(name, []))
    data = tmp_path / "stsb.tsv"
    words = ["a", "bean", "a cab", "e e e", "a b c d", "cab bean", "bad deed", "x"]
    rows = [f"{a}\t{b}\t{i % 5}" for i, (a, b) in enumerate(zip(words, words[::-1], strict=True))]
    data.write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n")
    source = checkpoint(tmp_path / "bert")
    output = tmp_path / "out"
    arguments = [source, "--task", "stsb", "--data", data, "--recipes", "plain", "--peers", "torch,openvino"]
    arguments += ["-o", output, "--rounds", 1, "--seconds", 0.01, "--lengths", "real", "--batch", 9]
    result = invoke(*arguments)
    assert result.exit_code == 0, result.stderr
    (run,) = read_results([output / "results.jsonl"])
    ids = [f"bert/{name}" for name in ("pyqrt/plain", "torch/fp32", "torch/int8")]
    assert [candidate["id"] for candidate in run.record["candidates"]] == ids
    (missing,) = run.records["not_measured"]
    assert missing["candidate"]["id"] == "bert/openvino/int8"
    assert (missing["reason"], missing["remedy"]) == (
        "not installed: openvino, nncf",
        "pip install openvino nncf",
    )
    assert "pip install openvino nncf" in result.stdout
    scores = {score["candidate"]: score for score in run.records["score"]}
    assert [scores[name]["reference"] for name in ids] == [ids[1], None, ids[1]]
    (model,) = (output / "models").glob("*.qrt")
    floats = evaluate(model, "stsb", data, checkpoint=source).scores[0]
    assert floats.float is not None
    assert scores[ids[1]]["scores"][0]["value"] == pytest.approx(floats.float.value, abs=1e-6)
    assert scores[ids[0]]["scores"][0]["value"] == floats.integer.value
    difference = scores[ids[0]]["scores"][0]["difference"]
    assert difference["value"] == pytest.approx(floats.integer.value - floats.float.value, abs=1e-6)
    ways = {(turn["candidate"], turn["batching"]) for turn in run.records["turn"]}
    assert ways == {(name, way) for name in ids for way in ("single", "padded")} | {
        (ids[0], "packed"),
        (ids[1], "sorted"),
        (ids[2], "sorted"),
    }


def test_a_peer_that_fails_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "missing_packages", lambda name: [])
    broken = tmp_path / "broken" / "ctranslate2"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('<broken>')\n")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    data = tmp_path / "stsb.tsv"
    data.write_text("sentence1\tsentence2\tscore\n" + "".join(f"a\tb{'c' * i}\t{i}\n" for i in range(5)))
    run = measure(
        [checkpoint(tmp_path / "bert")],
        "stsb",
        data,
        tmp_path / "out",
        recipes=["plain"],
        peer_names=["ctranslate2"],
        **QUICK,
    )
    (record,) = run.records["not_measured"]
    assert (record["candidate"]["id"], record["reason"]) == (
        "bert/ctranslate2/int8",
        "RuntimeError: <broken>",
    )
    assert {turn["candidate"] for turn in run.records["turn"]} == {"bert/pyqrt/plain"}


def test_the_working_folder_is_not_imported_from(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.chdir(tmp_path)
    assert measure([model], "sst2", data, tmp_path / "out", **QUICK).records["turn"]


def test_merge(tmp_path: Path) -> None:
    import made_results

    first = made_results.write(tmp_path / "pi.jsonl", cpu="Pi", rounds=1, models=("small-model",))
    own = tmp_path / "own"
    own.mkdir()
    made_results.write(own / "results.jsonl", "b" * 12, rounds=1, models=("small-model",))
    result = invoke("--merge", first, "-o", own)
    assert result.exit_code == 0, result.stderr
    text = (own / "report.html").read_text()
    assert "<h3>CPU one (avx2), 1 thread</h3>" in text
    assert "<h3>Pi (avx2), 1 thread</h3>" in text
    assert len(read_results([own / "results.jsonl"])) == 1  # which is as it was


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--task and --data are needed"),
        (("--merge", "--task", "sst2"), "--merge measures nothing: leave out --task and --data"),
        (("--threads", "1,x"), "--threads has 'x'; give whole numbers up to 2147483647, separated by commas"),
        (("--threads", str(2**31)), "--threads has '2147483648'; give whole numbers up to 2147483647"),
        (("--lengths", "real,y"), "--lengths has 'y'; give whole numbers up to 2147483647, or real"),
        (("--lengths", "8,8"), "lengths is ['8', '8']; give one or more, each once"),
        (("--lengths", "25"), "a length is 25 tokens"),
        (("--threads", "0"), "threads is 0; it must be at least 1"),
        (("--peers", "jax"), "peers has 'jax'; known: torch, onnxruntime, openvino, ctranslate2"),
        (("--device", "gpu"), "unknown device 'gpu'"),
        (("--seconds", "nan"), "seconds is nan; give a positive number"),
    ],
)
def test_bad_options(
    model: Path, data: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    given = ["--task", "sst2", "--data", data] if arguments and "--merge" not in arguments else []
    result = invoke(model, *given, "-o", tmp_path, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr.splitlines()[-1]  # after bars of progress, if it had begun


def test_two_candidates_of_one_name(model: Path, data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / model.name
    copy.parent.mkdir()
    copy.write_bytes(model.read_bytes())
    with pytest.raises(ModelError, match=r"are both recipe 'small' of small; compare one of them"):
        measure([model, copy], "sst2", data, tmp_path, **QUICK)


def test_peers_of_a_model_file_are_not_measured(model: Path, data: Path, tmp_path: Path) -> None:
    run = measure([model], "sst2", data, tmp_path, peer_names=["torch"], **QUICK)
    assert [(record["candidate"]["variant"], record["remedy"]) for record in run.records["not_measured"]] == [
        ("fp32", "give the checkpoint's directory"),
        ("int8", "give the checkpoint's directory"),
    ]
