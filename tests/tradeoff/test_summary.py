"""Figures worked out by hand from a few records."""

from __future__ import annotations

from pathlib import Path

import made_results
import pytest

from pyqrt.tradeoff.results import Run, read_results
from pyqrt.tradeoff.summary import panels
from pyqrt.tradeoff.tables import batch_table, front_of, length_table, main_table, milliseconds, not_measured


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return read_results([made_results.write(tmp_path / "a.jsonl", threads=(1, 2))])[0]


def test_a_workload_of_several_texts(run: Run) -> None:
    name = "small-model/pyqrt/default"
    turns = [
        record for record in run.records["turn"] if record["candidate"] == name and record["threads"] == 1
    ]
    real = [record for record in turns if record["workload"] == "1 x real"]
    for record, seconds in zip(real, ([1, 2, 3, 4], [2, 3, 4, 5], [9, 3, 4, 5]), strict=True):
        record["seconds"] = seconds
        record["joules"] = 6.6
    (row,) = (row for row in panels([run])[0].rows if row.candidate["id"] == name)
    latency = row.latencies["1 x real", "single"]
    # 1 2 2 3 3 3 4 4 4 5 5 9; the texts' medians are 2 3 4 5; their lengths 8 + 12 + 16 + 30.
    assert (latency.median, latency.low, latency.high) == (3.5, 2.5, 4.5)
    assert latency.p90 == 5.0
    assert latency.tokens_per_second == 66 / (2 + 3 + 4 + 5)
    assert latency.joules_per_token == pytest.approx(3 * 6.6 / (3 * 66))
    assert (latency.calls, latency.rounds) == (12, 3)
    real[0]["joules"] = None  # one that could not be read, so no sum
    (row,) = (row for row in panels([run])[0].rows if row.candidate["id"] == name)
    assert row.latencies["1 x real", "single"].joules_per_token is None


def test_panels_are_of_one_number_of_threads(run: Run) -> None:
    found = panels([run])
    assert [(panel.title(), len(panel.rows)) for panel in found] == [
        ("CPU one (avx2), 1 thread", 18),
        ("CPU one (avx2), 2 threads", 18),
    ]
    row = found[0].rows[0]
    assert (row.peak_bytes, row.file_bytes, row.load_seconds, row.isa) == (
        150_000_000,
        10_000_000,
        0.02,
        "avx2",
    )
    assert row.reference == "small-model/torch/fp32"


def test_the_front_is_marked_in_the_table(run: Run) -> None:
    panel = panels([run])[0]
    columns, rows = main_table(panel)
    marked = [row[1:4] for row in rows if row[0]]
    assert marked == [
        ("small-model", "pyqrt", "speed"),
        ("small-model", "pyqrt", "default"),
        ("large-model", "pyqrt", "speed"),
        ("large-model", "pyqrt", "default"),
    ]
    assert [row.candidate["variant"] for row in front_of(panel)] == ["speed", "default"] * 2
    assert columns[4:8] == ("Spearman (95 %)", "minus float32 (95 %)", "1 x real: median ms", "p90 ms")
    assert rows[0][4:6] == ("0.8580 (0.8480 to 0.8680)", "-0.0020 (-0.0030 to -0.0010)")
    medians = [float(row[6]) for row in rows]
    assert medians == sorted(medians)


def test_rows_are_ranked_by_one_metric(run: Run) -> None:
    """A regression has Pearson first, embeddings Spearman."""
    first, second = run.records["score"][:2]
    for record, value in ((first, 0.5), (second, 0.6)):
        others = [{**score, "metric": "Pearson", "value": value} for score in record["scores"]]
        order = [*record["scores"], *others]
        record["scores"] = order if record is first else order[::-1]
    for row in panels([run])[0].rows:
        if row.scores:
            assert row.scores[0]["metric"] == "Spearman"


def test_other_tables(run: Run) -> None:
    panel = panels([run])[0]
    columns, rows = length_table(panel)
    assert columns[3:] == tuple(f"1 x {n}: median (p90) ms" for n in ("real", 16, 64))
    assert all(cell for row in rows for cell in row)
    columns, rows = batch_table(panel)
    assert columns[3:] == tuple(f"4 x real {way}: tokens/s" for way in ("packed", "padded", "sorted"))
    given = {row[:3]: [bool(cell) for cell in row[3:]] for row in rows}
    assert given["small-model", "pyqrt", "plain"] == [True, True, False]
    assert given["small-model", "ONNX Runtime", "int8"] == [False, True, True]
    assert given["small-model", "CTranslate2", "int8"] == [True, False, False]
    assert not_measured([run, run])[1] == [
        ("small-model", "other", "int8", "not installed: <other>", "pip install <other>")
    ]


def test_a_candidate_without_turns_is_left_out(run: Run) -> None:
    run.records["turn"] = [r for r in run.records["turn"] if r["candidate"] != "large-model/torch/fp32"]
    assert [len(panel.rows) for panel in panels([run])] == [17, 17]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123456, "12.3"), (0.00123456, "1.23"), (0.000123456, "0.12"), (1.23456, "1235"), (0.123456, "123")],
)
def test_milliseconds(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text
