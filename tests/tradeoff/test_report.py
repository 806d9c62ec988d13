"""Pictures and report: what is in the files, and what a browser shows of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import browser
import made_results
import numpy as np
import pytest
from matplotlib.image import imread

from pyqrt.errors import ModelError
from pyqrt.tradeoff.api import report
from pyqrt.tradeoff.style import _LOOKS

HOSTILE = "<script>alert(1)</script>"
PICTURES = ("accuracy-latency", "difference-latency", "latency-length", "throughput")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two machines, one with a name that is markup."""
    folder = tmp_path_factory.mktemp("report")
    first = made_results.write(folder / "a.jsonl", models=("small-model", "large-model"))
    second = made_results.write(
        folder / "b.jsonl", "b" * 12, cpu=HOSTILE, slower=30.0, models=("small-model",), rounds=2
    )
    written = report([first, second], folder)
    names = [f"{name}.{kind}" for name in PICTURES for kind in ("png", "svg")]
    assert [path.name for path in written] == [*names, "report.html"]
    return folder


def nearest(pixels: np.ndarray, color: str) -> int:
    """How many pixels have a colour, nearly."""
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(pixels[..., :3].astype(int) - wanted).max(axis=-1) <= 2).sum())


@pytest.mark.parametrize("name", PICTURES)
def test_every_system_is_in_every_picture(folder: Path, name: str) -> None:
    pixels = (imread(folder / f"{name}.png") * 255).round()
    for system, (color, _) in _LOOKS.items():
        assert nearest(pixels, color) > 40, system
    assert pixels.shape[1] <= 2200


def test_colours_are_told_apart_without_colour_by_markers() -> None:
    assert len({marker for _, marker in _LOOKS.values()}) == len({color for color, _ in _LOOKS.values()}) == 5


def test_the_same_results_make_the_same_files(folder: Path, tmp_path: Path) -> None:
    report([folder / "a.jsonl", folder / "b.jsonl"], tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_the_report_refers_to_nothing_outside(folder: Path) -> None:
    sources: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "iframe", "object")
            sources.extend(value or "" for name, value in attributes if name in ("src", "href", "srcset"))

    text = (folder / "report.html").read_text()
    Links().feed(text)
    assert len(sources) == len(PICTURES)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not re.search(r"url\(|@import", text)


def test_files_without_turns(tmp_path: Path) -> None:
    path = made_results.write(tmp_path / "a.jsonl", rounds=0)
    with pytest.raises(ModelError, match=r"a\.jsonl: no latency has been measured"):
        report([path], tmp_path)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    if reason := browser.missing():
        pytest.skip(reason)
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_shows_pictures_and_tables(folder: Path, window: browser.Browser, width: int) -> None:
    window.open(folder / "report.html", width)
    assert window.value("document.title") == "Accuracy against latency"
    images = "Array.from(document.images)"
    assert window.value(f"{images}.map(i => i.complete && i.naturalWidth > 300 && i.clientWidth > 200)") == [
        True
    ] * len(PICTURES)
    # Nothing sticks out of the page: what is wide scrolls in its own box.
    assert window.value("document.documentElement.scrollWidth <= window.innerWidth")
    loaded = window.value("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert window.complaints() == []

    shown = window.value("document.body.innerText")
    for text in (
        "Pareto front",
        "Not measured",
        "pip install <other>",
        "CTranslate2",
        "-0.0040 (-0.0050 to -0.0030)",
    ):
        assert text in shown
    assert HOSTILE in shown
    assert window.value("document.scripts.length") == 0
    rows = window.value("Array.from(document.querySelectorAll('table')).map(t => t.tBodies[0].rows.length)")
    assert rows[:6] == [18] * 3 + [9] * 3
    stars = "Array.from(document.querySelectorAll('td')).filter(cell => cell.innerText == '★').length"
    assert window.value(stars) == 4 + 2


def test_a_browser_draws_every_system(folder: Path, window: browser.Browser) -> None:
    window.open(folder / "report.html", 1280)
    pixels = window.pixels("img")
    assert pixels.shape[1] > 900
    for system, (color, _) in _LOOKS.items():
        assert nearest(pixels, color) > 40, system
    background = (pixels == 255).all(axis=-1).mean()
    assert 0.7 < background < 0.99
