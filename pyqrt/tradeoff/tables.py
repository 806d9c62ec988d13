"""The tables, as text: on the terminal and in the report alike."""

from __future__ import annotations

from collections.abc import Sequence

from pyqrt.tradeoff.pareto import front
from pyqrt.tradeoff.results import Record, Run
from pyqrt.tradeoff.summary import Latency, Panel, Row, single_workloads
from pyqrt.tradeoff.systems import SYSTEMS
from pyqrt.tradeoff.workloads import PACKED, PADDED, SINGLE, SORTED

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # columns, rows
ON_FRONT = "★"


def system_title(candidate: Record) -> str:
    """The system's name as people write it."""
    name = str(candidate["system"])
    return SYSTEMS[name].title if name in SYSTEMS else name


def front_of(panel: Panel) -> list[Row]:
    """The rows that no other beats in both, from the quickest on, by the first workload and ranking score."""
    workload = main_workload(panel)
    rows = [row for row in panel.rows if row.scores and (workload, SINGLE) in row.latencies]
    chosen = front(
        [row.latencies[workload, SINGLE].median for row in rows], [row.scores[0]["value"] for row in rows]
    )
    return [rows[i] for i in chosen]


def main_workload(panel: Panel) -> str:
    """The workload that pictures put on the latency axis: the first of single texts."""
    names = single_workloads(panel.rows)
    return names[0] if names else ""


def main_table(panel: Panel) -> Table:
    """Score, latency and cost of every row, the quickest first."""
    best = front_of(panel)
    workload = main_workload(panel)
    metric = next((row.scores[0]["metric"] for row in panel.rows if row.scores), "score")
    columns: tuple[str, ...] = (
        "",
        "model",
        "system",
        "variant",
        f"{metric} (95 %)",
        "minus float32 (95 %)",
        f"{workload}: median ms",
        "p90 ms",
        "tokens/s",
        "mJ/token",
        "memory MB",
        "file MB",
        "load ms",
        "start s",
    )
    rows: list[tuple[str, ...]] = []
    for row in sorted(panel.rows, key=lambda row: _seconds(row, workload)):
        latency = row.latencies.get((workload, SINGLE))
        rows.append(
            (
                ON_FRONT if row in best else "",
                str(row.candidate["checkpoint"]),
                system_title(row.candidate),
                str(row.candidate["variant"]),
                interval(row.scores[0]) if row.scores else "",
                interval(row.scores[0]["difference"], "+") if row.scores else "",
                *_latency_cells(latency),
                scaled(row.peak_bytes, 1e-6, 0),
                scaled(row.file_bytes, 1e-6, 1),
                scaled(row.load_seconds, 1e3, 0),
                scaled(row.start_seconds, 1.0, 2),
            )
        )
    return columns, rows


def length_table(panel: Panel) -> Table:
    """Median milliseconds, and the 90th percentile, of every workload of single texts."""
    names = single_workloads(panel.rows)
    columns = ("model", "system", "variant", *(f"{name}: median (p90) ms" for name in names))
    rows = []
    for row in sorted(panel.rows, key=lambda row: _seconds(row, main_workload(panel))):
        cells = []
        for name in names:
            latency = row.latencies.get((name, SINGLE))
            cells.append(f"{milliseconds(latency.median)} ({milliseconds(latency.p90)})" if latency else "")
        rows.append(
            (
                str(row.candidate["checkpoint"]),
                system_title(row.candidate),
                str(row.candidate["variant"]),
                *cells,
            )
        )
    return columns, rows


def batch_table(panel: Panel) -> Table:
    """Tokens a second of the batch, by what was done about padding; no rows where there was no batch."""
    ways = (PACKED, PADDED, SORTED)
    names = list(dict.fromkeys(name for row in panel.rows for name, way in row.latencies if way != SINGLE))
    columns = ("model", "system", "variant", *(f"{name} {way}: tokens/s" for name in names for way in ways))
    rows = [
        (
            str(row.candidate["checkpoint"]),
            system_title(row.candidate),
            str(row.candidate["variant"]),
            *(
                scaled(found.tokens_per_second, 1.0, 0) if (found := row.latencies.get((name, way))) else ""
                for name in names
                for way in ways
            ),
        )
        for row in panel.rows
    ]
    return columns, rows if names else []


def not_measured(runs: Sequence[Run]) -> Table:
    """What could not be measured, why, and what would mend it."""
    records = [record for run in runs for record in run.records["not_measured"]]
    rows = [
        (
            str(record["candidate"]["checkpoint"]),
            system_title(record["candidate"]),
            str(record["candidate"]["variant"]),
            str(record["reason"]),
            str(record["remedy"] or ""),
        )
        for record in records
    ]
    return ("model", "system", "variant", "why", "what helps"), list(dict.fromkeys(rows))


def interval(found: dict[str, float] | None, sign: str = "") -> str:
    """A value and its bounds."""
    if found is None:
        return ""
    value, low, high = (format(found[name], f"{sign}.4f") for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def milliseconds(seconds: float) -> str:
    """Three digits that count, or more before the point."""
    value = seconds * 1e3
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f}"


def scaled(value: float | None, factor: float, digits: int) -> str:
    """A number times a factor; nothing for None."""
    return "" if value is None else f"{value * factor:.{digits}f}"


def _seconds(row: Row, workload: str) -> float:
    latency = row.latencies.get((workload, SINGLE))
    return latency.median if latency else float("inf")


def _latency_cells(latency: Latency | None) -> tuple[str, str, str, str]:
    if latency is None:
        return ("", "", "", "")
    return (
        milliseconds(latency.median),
        milliseconds(latency.p90),
        scaled(latency.tokens_per_second, 1.0, 0),
        scaled(latency.joules_per_token, 1e3, 3),
    )
