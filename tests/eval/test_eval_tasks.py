"""Data of every task as files have them, labels by name and number, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyqrt
from pyqrt.errors import ModelError
from pyqrt.eval import evaluate
from pyqrt.eval.predict import Predictor, integer_run
from pyqrt.eval.tasks import task, tasks
from pyqrt.eval.tasks.entities import TaggedTokens
from pyqrt.eval.tasks.masked import Line
from pyqrt.runtime import Task

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def table(*lines: str, name: str = "data.tsv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return table


def labelled(*labels: str, problem: Any = "single_label_classification") -> Task:
    return Task("sequence_classification", "logits", labels, problem)


@pytest.mark.parametrize(
    ("name", "header", "cells", "number"),
    [
        ("sst2", "sentence\tlabel", "fine\t1", 1),
        ("sst2", "index\tsentence\tlabel", "7\tfine\tNegative", 0),
        ("cola", "label\tsentence", "acceptable\tfine", 1),
        ("mrpc", "sentence1\tsentence2\tlabel", "a\tb\tnot equivalent", 0),
        ("rte", "sentence1\tsentence2\tlabel", "a\tb\tnot_entailment", 1),
        ("qnli", "question\tsentence\tlabel", "a\tb\tentailment", 0),
        ("mnli", "premise\thypothesis\tlabel", "a\tb\tcontradiction", 2),
        ("mnli", "sentence1\tsentence2\tlabel", "a\tb\t1", 1),
        ("qqp", "question1\tquestion2\tlabel", "a\tb\tduplicate", 1),
    ],
)
def test_labels_are_names_or_numbers(write: Write, name: str, header: str, cells: str, number: int) -> None:
    (example,) = task(name).read(write(header, cells))
    assert example.label == number
    assert (example.pair == "b") == (name not in ("sst2", "cola"))


def test_a_text_may_hold_anything_but_tabs_and_line_ends(write: Write) -> None:
    text = 'he said "no , \x85 \u2028 \x0b'
    (example,) = task("sst2").read(write("sentence\tlabel", f"{text}\t0", ""))
    assert example.text == text
    (example,) = task("sst2").read(write("\ufeffsentence\tlabel\r", "a b\t1\r"))
    assert (example.text, example.label) == ("a b", 1)


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (("LABEL_0", "LABEL_1", "LABEL_2"), [0, 1, 2]),
        (("0", "1", "2"), [0, 1, 2]),
        (("CONTRADICTION", "NEUTRAL", "ENTAILMENT"), [2, 1, 0]),  # as the first public MNLI models have them
        (("contradiction", "Entailment", "neutral"), [2, 0, 1]),
    ],
)
def test_a_models_labels_are_read_by_name_not_by_place(names: tuple[str, ...], numbers: list[int]) -> None:
    reading = task("mnli").check(labelled(*names), names, [])
    assert list(reading.items()) == list(zip(names, numbers, strict=True))


@pytest.mark.parametrize(
    "names", [("bad", "good"), ("LABEL_0", "LABEL_2"), ("0", "0"), ("negative",), ("a", "b", "c")]
)
def test_labels_that_are_not_the_tasks_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match=r"the task's are negative, positive.*--labels"):
        task("sst2").check(labelled(*names), names, [])


def test_labels_may_be_told() -> None:
    assert task("sst2").check(labelled("good", "bad"), ["positive", "negative"], []) == {"good": 1, "bad": 0}
    with pytest.raises(ModelError, match="the model's labels are positive"):
        task("sst2").check(labelled("good", "bad"), ["positive"], [])
    with pytest.raises(ModelError, match="the model's labels are"):
        task("sst2").check(labelled("good", "bad", "ugly"), ["positive", "negative"], [])


def squad_file(question: Any, context: Any, *answers: Any) -> str:
    item = {"question": question, "answers": [{"text": answer} for answer in answers]}
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": [item]}]}]})


@pytest.mark.parametrize(
    ("name", "model", "needed"),
    [
        ("sst2", "embedding", "needs sequence_classification"),
        ("sst2", "several", r"sequence_classification \(multi_label_classification\)"),
        ("sst2", "value", r"\(regression\)"),
        ("stsb", "two", "needs an embedding, or"),
        ("stsb", "tokens", "needs an embedding, or"),
        ("conll2003", "two", "needs token_classification"),
        ("squad", "tokens", "needs question_answering"),
        ("masked_lm", "embedding", "needs a masked language model"),
        ("masked_lm", "tokens", "has no mask token"),
        ("stsb", "mute", "has no tokenizer"),
    ],
)
def test_the_wrong_head_is_refused(write: Write, folder: Path, name: str, model: str, needed: str) -> None:
    data = {
        "sst2": ("sentence\tlabel", "a\t1"),
        "stsb": ("sentence1\tsentence2\tscore", "a\tb\t1.5"),
        "conll2003": ("tokens\ttags", "a\tO"),
        "squad": (squad_file("a", "b", "b"),),
        "masked_lm": ("a b",),
    }[name]
    with pytest.raises(ModelError, match=needed):
        evaluate(folder / f"{model}.qrt", name, write(*data))


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        (
            "sst2",
            ("sentence1\tsentence2\tlabel", "a\tb\t1"),
            "columns are sentence1, sentence2, label; needed are sentence, label",
        ),
        ("mnli", ("a\tb",), "premise, hypothesis, label or sentence1, sentence2, label"),
        ("sst2", ("sentence\tlabel",), "no examples below its header"),
        ("sst2", ("",), "columns are none"),
        ("sst2", ("sentence\tlabel", "a\t1", "b"), "line 3: 1 columns, the header has 2"),
        ("sst2", ("sentence\tlabel", "a\t1\tb"), "line 2: 3 columns"),
        (
            "sst2",
            ("sentence\tlabel", "a\t1", "", "a\t2"),
            r"data\.tsv, line 4: the label '2' is none of the task's: negative, positive, 0, 1",
        ),
        ("rte", ("sentence1\tsentence2\tlabel", "a\tb\tneutral"), "line 2: the label 'neutral'"),
        (
            "stsb",
            ("sentence1\tsentence2\tscore", "a\tb\tmuch"),
            "line 2: the score 'much' is no finite number",
        ),
        ("stsb", ("sentence1\tsentence2\tscore", "a\tb\tnan"), "'nan' is no finite number"),
        ("conll2003", ("tokens\ttags", "a b\tO"), "line 2: 2 tokens but 1 tags"),
        ("conll2003", ("tokens\ttags", "a\tPER"), "line 2: 'PER' are no BIO tags"),
        ("squad", ("{}",), "not JSON in the form of SQuAD"),
        ("squad", ("[",), "not JSON in the form of SQuAD"),
        ("squad", ('{"data":' + "[" * 100000,), "not JSON in the form of SQuAD"),
        ("squad", (squad_file(None, "b"),), "question is None; it must be a text"),
        ("squad", (squad_file("a", None),), "context is None; it must be a text"),
        ("squad", (squad_file("a", "b", None),), "text is None; it must be a text"),
        ("squad", (squad_file("a", "b", 5),), "text is 5; it must be a text"),
        ("squad", ('{"data": []}',), "has no questions"),
        ("masked_lm", ("", "  "), "has no text"),
    ],
)
def test_bad_data_are_refused(write: Write, name: str, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        task(name).read(write(*lines))


def test_data_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.tsv").write_bytes(b"sentence\tlabel\n\xe9\t1\n")
    for name in ("latin.tsv", "absent.tsv", "."):
        with pytest.raises(ModelError, match="cannot read the data"):
            task("sst2").read(tmp_path / name)
    with pytest.raises(ModelError, match=f"task is 'sst3'; known: {', '.join(tasks())}"):
        task("sst3")


def test_entity_types_the_model_lacks_are_refused(write: Write, folder: Path) -> None:
    data = write("tokens\ttags", "anna lives\tB-ORG O")
    with pytest.raises(ModelError, match="entities of type ORG; the model's labels are O, B-PER"):
        evaluate(folder / "tokens.qrt", "conll2003", data)
    told = ["O", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
    assert evaluate(folder / "tokens.qrt", "conll2003", data, labels=told, resamples=1).examples == 1
    with pytest.raises(ModelError, match="are no BIO tags"):
        evaluate(folder / "tokens.qrt", "conll2003", data, labels=["O", "ORG", "I-ORG", "B-LOC", "I-LOC"])
    with pytest.raises(
        ModelError, match=r"labels is \['O', 'B-ORG'\]; .* 5 labels, in their order: O, B-PER"
    ):
        evaluate(folder / "tokens.qrt", "conll2003", data, labels=["O", "B-ORG"])


def predictor(path: Path, **options: Any) -> Predictor:
    model = pyqrt.load(path, threads=1)
    return Predictor(model, integer_run(model), **({"truncate": False} | options))


def test_a_tokens_tag_is_that_of_its_first_piece(folder: Path) -> None:
    """`abc` is one token of two pieces, `a.b` three words of one token, a lone control character none."""
    of_task, predict = task("conll2003"), predictor(folder / "tokens.qrt")
    tokens = ["anna", "abc", "a.b", "\x01", "Paris"]
    text = " ".join(tokens)
    (words,) = predict([text])
    tag_at = {word.start: word.label for word in words}
    starts = [0, 5, 9, 13, 15]
    assert TaggedTokens(tokens, []).starts() == starts
    tags = [tag_at.get(start, "O") for start in starts]
    assert tags[3] == "O"
    reading = {label: label for label in predict.task.labels}
    rows = of_task.score(predict, reading, [TaggedTokens(tokens, tags)])
    assert rows[0, 0] == rows[0, 1] == rows[0, 2]  # the model's own tags are all right
    swapped = ["B-LOC" if tag == "O" else "O" for tag in tags]
    assert of_task.score(predict, reading, [TaggedTokens(tokens, swapped)])[0, 0] == 0


def test_unanswerable_questions_may_have_no_answer(folder: Path, write: Write) -> None:
    def squad(*answers: str) -> dict[str, Any]:
        return {"question": "lives in", "answers": [{"text": text} for text in answers]}

    paragraph = {"context": "anna lives in Paris .", "qas": [squad("Paris", "in Paris"), squad()]}
    data = write(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    of_task, predict = task("squad"), predictor(folder / "answers.qrt")
    examples = of_task.read(data)
    assert [example.answers for example in examples] == [("Paris", "in Paris"), ()]
    (result,) = predict(["lives in"], ["anna lives in Paris ."])
    model = predict.task
    assert of_task.check(model, (), examples[:1]) is False
    assert of_task.check(model, (), examples) is True
    given = of_task.score(predict, False, examples)
    assert given[1].tolist() == [0.0, 0.0]  # it had to answer
    silent = result.no_answer_score > result.score
    assert of_task.score(predict, True, examples)[1].tolist() == [float(silent)] * 2


class Oracle:
    """A masked language model of 14 words that names `answer` everywhere."""

    def __init__(self, predict: Predictor, answer: int) -> None:
        self.predict, self.answer = predict, answer
        self.seen: list[np.ndarray] = []

    def __call__(self, ids: Any, types: Any) -> tuple[list[np.ndarray], float]:
        self.seen += list(ids)
        return [np.eye(14, dtype=np.int32)[np.full(len(row), self.answer)] for row in ids], 0.5


def test_masking_is_fixed_and_hides_what_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = predictor(folder / "embedding.qrt")
    monkeypatch.setattr(predict.tokenizer, "id_of", {"[MASK]": 1}.get)
    lines = [Line(1, "a " * 20), Line(2, "b"), Line(9, "a " * 20)]
    oracle = Oracle(predict, answer=4)  # "a"
    predict.run = oracle
    of_task = task("masked_lm")
    rows = of_task.score(predict, None, lines)
    assert rows.tolist() == [[3.0, 3.0], [0.0, 1.0], [3.0, 3.0]]
    masked = [np.flatnonzero(ids == 1).tolist() for ids in oracle.seen]
    assert [len(places) for places in masked] == [3, 1, 3]
    assert masked[0] != masked[2]  # the line's number draws them
    assert all(
        0 not in places and len(ids) - 1 not in places
        for ids, places in zip(oracle.seen, masked, strict=True)
    )
    oracle.seen.clear()
    of_task.score(predict, None, lines[2:])
    assert np.flatnonzero(oracle.seen[0] == 1).tolist() == masked[2]
    with pytest.raises(ModelError, match="line 7 has no tokens that could be masked; remove it"):
        of_task.score(predict, None, [lines[0], Line(7, "\u200b")])
    predict.run = integer_run(pyqrt.load(folder / "embedding.qrt"))
    with pytest.raises(ModelError, match="gives one for each token and each of its 14 words"):
        of_task.score(predict, None, lines[1:2])
