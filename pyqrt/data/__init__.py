"""Small English texts that ship with pyqrt: calibration, held-out texts, graded sentence pairs.

They make quantization and its accuracy report work without a download. All were written for this
project; README.md in this folder says how, and what a similarity score means.
"""

from __future__ import annotations

from importlib.resources import files


def calibration_texts() -> list[str]:
    """Texts from which quantization may choose scales: 333 strings of 1 to 363 words.

    Topics and lengths are mixed evenly, so that any prefix of the list is a fair sample of the whole.
    """
    return _lines("calibration.txt")


def heldout_texts() -> list[str]:
    """Texts on which quantization error is reported: 120 strings, none of them used to calibrate."""
    return _lines("heldout.txt")


def similarity_pairs() -> list[tuple[str, str, float]]:
    """(sentence1, sentence2, score): 120 pairs, scored from 0 (unrelated) to 5 (same meaning)."""
    pairs = []
    for line in _lines("pairs.tsv")[1:]:
        sentence1, sentence2, score = line.split("\t")
        pairs.append((sentence1, sentence2, float(score)))
    return pairs


def _lines(name: str) -> list[str]:
    # Not str.splitlines, which would also cut at form feeds and Unicode separators inside a text.
    return files(__name__).joinpath(name).read_text(encoding="utf-8").removesuffix("\n").split("\n")
