"""A results file as a run would write it, of numbers made up by a formula, for what reads results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyqrt.tradeoff.results import SCHEMA, ResultsFile

CANDIDATES = [
    ("pyqrt", "default", 1.0, 0.0),
    ("pyqrt", "speed", 0.9, 0.002),
    ("pyqrt", "plain", 0.9, 0.004),
    ("torch", "fp32", 8.0, 0.0),
    ("torch", "int8", 5.0, 0.01),
    ("onnxruntime", "fp32", 5.0, 0.0),
    ("onnxruntime", "int8", 2.0, 0.006),
    ("openvino", "int8", 1.8, 0.008),
    ("ctranslate2", "int8", 2.5, 0.007),
]
MODELS = {"small-model": (1.0, 0.86), "large-model": (2.5, 0.88)}
REAL = [8, 12, 16, 30]
FLOATS = "torch/fp32"
WORDS = [
    "a",
    "b",
    "a cab",
    "Paris",
    "anna lives in Paris",
    "a b c ab",
    "ab ab .",
    "anna",
    "b b b b b",
    "c",
]  # of the small model


def write(
    path: Path,
    run: str = "0123456789ab",
    *,
    cpu: str = "CPU one",
    threads: tuple[int, ...] = (1,),
    slower: float = 1.0,
    rounds: int = 3,
    models: tuple[str, ...] = tuple(MODELS),
) -> Path:
    """Appends one run to `path`."""
    file = ResultsFile(path)
    systems = [(f"{system}/{variant}", system, variant) for system, variant, _, _ in CANDIDATES]
    file.append(
        "run",
        run,
        schema=SCHEMA,
        time="2026-01-01T00:00:00+00:00",
        pyqrt="0.1.0",
        commit="abc",
        command=f"pyqrt tradeoff on {cpu}",
        versions={"torch": "2.0"},
        machine={"cpu": cpu, "governor": None, "load_average": [0.1, 0.2, 0.3], "gpu": None},
        settings=settings(threads, rounds),
        candidates=[
            {"id": f"{model}/{name}", "checkpoint": model, "system": system, "variant": variant, "digest": ""}
            for model in models
            for name, system, variant in systems
        ],
        workloads={model: workloads() for model in models},
    )
    lacking = {
        "id": "small-model/other/int8",
        "checkpoint": "small-model",
        "system": "other",
        "variant": "int8",
    }
    file.append(
        "not_measured", run, candidate=lacking, reason="not installed: <other>", remedy="pip install <other>"
    )
    for model in models:
        base, score = MODELS[model]
        for system, variant, factor, loss in CANDIDATES:
            name = f"{model}/{system}/{variant}"
            value = score - loss
            difference = (
                None if variant == "fp32" else {"value": -loss, "low": -loss - 0.001, "high": 0.001 - loss}
            )
            scores = [
                {"metric": "Spearman", "value": value, "low": value - 0.01, "high": value + 0.01}
                | {"difference": difference}
            ]
            file.append(
                "score",
                run,
                candidate=name,
                scores=scores,
                reference=None if difference is None else f"{model}/{FLOATS}",
                examples=100,
                truncated=0,
            )
            for count in threads:
                file.append(
                    "load",
                    run,
                    candidate=name,
                    threads=count,
                    load_seconds=0.02,
                    start_seconds=0.3,
                    file_bytes=10_000_000,
                    isa="avx2" if system == "pyqrt" else None,
                )
                for number in range(rounds):
                    for item in workloads():
                        if item["batching"] == "packed" and system not in ("pyqrt", "ctranslate2"):
                            continue
                        if item["batching"] == "sorted" and system in ("pyqrt", "ctranslate2"):
                            continue
                        if item["batching"] == "padded" and system == "ctranslate2":
                            continue
                        longest = item["batching"] == "padded"
                        file.append(
                            "turn",
                            run,
                            candidate=name,
                            threads=count,
                            workload=item["workload"],
                            batching=item["batching"],
                            round=number,
                            seconds=[
                                1e-5
                                * factor
                                * base
                                * slower
                                / count
                                * (1 + 0.1 * number)
                                * (max(lengths) * len(lengths) if longest else sum(lengths))
                                for lengths in item["lengths"] * 2
                            ],
                            joules=None,
                            peak_bytes=50_000_000 * (number + 1),
                            load_average=0.5,
                        )
    return path


def settings(threads: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Of a run."""
    return {
        "task": "stsb",
        "data": "dev.tsv",
        "data_sha256": "0" * 64,
        "examples": 100,
        "labels": None,
        "truncate": False,
        "calibration": None,
        "device": "cpu",
        "threads": list(threads),
        "lengths": ["real", 16, 64],
        "batch": len(REAL),
        "rounds": rounds,
        "seconds": 0.1,
    }


def workloads() -> list[dict[str, Any]]:
    """Of a model."""
    batch = f"{len(REAL)} x real"
    return [
        {"workload": "1 x real", "batching": "single", "lengths": [[length] for length in REAL]},
        {"workload": "1 x 16", "batching": "single", "lengths": [[16]]},
        {"workload": "1 x 64", "batching": "single", "lengths": [[64]]},
        {"workload": batch, "batching": "packed", "lengths": [REAL]},
        {"workload": batch, "batching": "padded", "lengths": [REAL]},
        {"workload": batch, "batching": "sorted", "lengths": [REAL[:2], REAL[2:]]},
    ]
