"""RAPL's counters, from a folder like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyqrt.tradeoff.energy import find_meter


def zone(folder: Path, name: str, kind: str, microjoules: int, most: int = 1000) -> Path:
    (folder / name).mkdir()
    (folder / name / "name").write_text(kind + "\n")
    (folder / name / "max_energy_range_uj").write_text(f"{most}\n")
    counter = folder / name / "energy_uj"
    counter.write_text(f"{microjoules}\n")
    return counter


def test_packages_are_added_and_parts_of_them_are_not(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 200)
    part = zone(tmp_path, "intel-rapl:0:0", "core", 5)
    meter = find_meter("cpu", tmp_path)
    assert meter is not None
    assert meter() == 0.0
    first.write_text("150\n")
    second.write_text("207\n")
    part.write_text("900\n")
    assert meter() == pytest.approx(57e-6)


def test_a_counter_that_starts_again(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 990)
    meter = find_meter("cpu", tmp_path)
    assert meter is not None
    counter.write_text("9\n")  # 11 steps: 991 ... 1000, 0, and nine more
    assert meter() == pytest.approx(20e-6)


def test_none_where_nothing_can_be_read(tmp_path: Path) -> None:
    assert find_meter("cpu", tmp_path) is None
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    counter.unlink()
    assert find_meter("cpu", tmp_path) is None
