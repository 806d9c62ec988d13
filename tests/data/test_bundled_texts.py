"""The bundled texts keep the properties that calibration and the accuracy report rely on."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest

from pyqrt.data import calibration_texts, heldout_texts, similarity_pairs

TEXTS = {"calibration": calibration_texts, "heldout": heldout_texts}


def word_counts(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


@pytest.mark.parametrize("name", TEXTS)
def test_every_line_is_a_clean_distinct_text(name: str) -> None:
    texts = TEXTS[name]()
    for text in texts:
        assert text == text.strip(), repr(text)
        assert text, "an empty line is not a text"
        assert not any(unicodedata.category(character) == "Cc" for character in text), repr(text)
        assert "\ufffd" not in text, f"broken encoding in {text!r}"
    repeated = [text for text, count in Counter(map(str.casefold, texts)).items() if count > 1]
    assert not repeated


def test_calibration_is_large_and_covers_lengths() -> None:
    counts = word_counts(calibration_texts())
    assert len(counts) >= 320
    assert min(counts) == 1
    assert max(counts) >= 300
    assert sum(count >= 80 for count in counts) >= 24
    assert sum(5 <= count <= 40 for count in counts) > len(counts) / 2


def test_heldout_is_large_and_covers_lengths() -> None:
    counts = word_counts(heldout_texts())
    assert len(counts) >= 120
    assert min(counts) == 1
    assert sum(100 <= count <= 300 for count in counts) >= 8


@pytest.mark.parametrize("name", TEXTS)
def test_texts_cover_scripts_cases_and_digits(name: str) -> None:
    texts = TEXTS[name]()
    scripts = {unicodedata.name(c).split()[0] for text in texts for c in text if c.isalpha()}
    assert {"LATIN", "CJK", "ARABIC"} <= scripts
    assert any(text.isupper() and len(text.split()) > 3 for text in texts)
    assert any(text.islower() and len(text.split()) > 3 for text in texts)
    assert any(text.endswith("?") for text in texts)
    assert sum(any(c.isdigit() for c in text) for text in texts) >= len(texts) / 10
    assert any("://" in text for text in texts) or name == "heldout"


def test_a_prefix_of_calibration_already_holds_long_texts() -> None:
    # The loader promises that a prefix is a fair sample; a file sorted by length or topic is not.
    counts = word_counts(calibration_texts()[:64])
    assert sum(count >= 80 for count in counts) >= 3
    assert sum(count <= 10 for count in counts) >= 8


def test_heldout_shares_no_text_with_calibration() -> None:
    calibration = {text.casefold() for text in calibration_texts()}
    assert not [text for text in heldout_texts() if text.casefold() in calibration]


def test_heldout_shares_no_long_phrase_with_calibration() -> None:
    def phrases(texts: list[str]) -> set[tuple[str, ...]]:
        found: set[tuple[str, ...]] = set()
        for text in texts:
            words = text.casefold().split()
            found.update(tuple(words[i : i + 6]) for i in range(len(words) - 5))
        return found

    assert not phrases(heldout_texts()) & phrases(calibration_texts())


def test_pairs_have_distinct_sentences_and_evenly_spread_scores() -> None:
    pairs = similarity_pairs()
    assert len({frozenset(pair[:2]) for pair in pairs}) == len(pairs) >= 120
    for sentence1, sentence2, _ in pairs:
        assert sentence1.strip() == sentence1 != sentence2 == sentence2.strip()
        assert sentence1
        assert sentence2
    scores = Counter(score for _, _, score in pairs)
    assert set(scores) == {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}
    assert max(scores.values()) <= 1.2 * min(scores.values())


def test_pairs_share_no_sentence_with_calibration() -> None:
    calibration = {text.casefold() for text in calibration_texts()}
    sentences = [sentence for pair in similarity_pairs() for sentence in pair[:2]]
    assert not [sentence for sentence in sentences if sentence.casefold() in calibration]


def test_shared_words_alone_do_not_decide_the_score() -> None:
    # A pair file that a bag of words could rank would say nothing about an encoder: some pairs
    # that mean the same share few words, some that differ share many.
    def overlap(first: str, second: str) -> float:
        a, b = ({w.strip(".,;:?!") for w in s.casefold().split()} for s in (first, second))
        return len(a & b) / len(a | b)

    same = [overlap(a, b) for a, b, score in similarity_pairs() if score == 5]
    partly = [overlap(a, b) for a, b, score in similarity_pairs() if score == 3]
    assert min(same) < 0.3
    assert max(partly) > 0.7
