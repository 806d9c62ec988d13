"""Loaded models: exact integers, errors that name what is wrong, threads and forks."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_model

import pyqrt
from oracle import program as oracle
from pyqrt import _runtime
from pyqrt.errors import ModelError
from pyqrt.runtime import Model, load
from pyqrt.runtime.tasks import Task
from pyqrt.runtime.texts import encode_texts
from pyqrt.runtime.tokenization import Tokenizer

VARIANTS = [variant["name"] for variant in _runtime.isas() if variant["supported"]]


def random_sequences(count: int, seed: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, small_model.LENGTH + 1, count)
    return [random.integers(0, len(small_model.WORDS), length) for length in lengths]


def rows(output: Any) -> list[list[Any]]:
    return [np.asarray(row).tolist() for row in output.values]


def test_embeddings_are_the_formula(model: Model) -> None:
    """The first node, recomputed here from embedding.h with Python's integers."""
    _, tensors = small_model.build(small_model.EMBEDDING)
    sequence, types = [2, 9, 3, 3], [0, 0, 1, 1]
    expected = []
    for position, (word, type_) in enumerate(zip(sequence, types, strict=True)):
        total = np.zeros(small_model.WIDTH, np.int64)
        for role, index in (("word", word), ("position", position), ("type", type_)):
            multiplier = int(tensors[f"embedding_0.{role}_multiplier"][index])
            total += tensors[f"embedding_0.{role}"][index].astype(np.int64) * multiplier
        expected.append(np.clip((total + (1 << 9)) >> 10, -32767, 32767).tolist())
    output = model.run([sequence], [types], output="stream")
    assert rows(output) == [expected]
    assert output.scale == 1.0
    assert output.values[0].dtype == np.int16


def test_normalized_rows_have_length_one(model: Model) -> None:
    values, scale = model.run(random_sequences(20))
    assert values.dtype == np.int32
    assert values.shape == (20, small_model.WIDTH)
    assert scale == model.scale == 2.0**-30
    np.testing.assert_allclose(np.linalg.norm(values * scale, axis=1), 1, atol=1e-6)
    assert len({tuple(row) for row in values.tolist()}) > 10  # the sequences differ, so do the results


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_one_text_per_thread_gives_the_same_bits(threads: int, folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        model = load(path, threads=threads, parallel="texts")
        for sequences in (random_sequences(1), random_sequences(40), random_sequences(9) * 3):
            assert rows(model.run(sequences)) == rows(load(path, threads=1).run(sequences))
        assert rows(model.run([])) == []


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_bits_do_not_depend_on_variant_or_threads(variant: str, threads: int, folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        sequences = random_sequences(9)
        expected = load(path, isa="reference", threads=1).run(sequences)
        model = load(path, isa=variant, threads=threads)
        assert model.describe()["isa"] == variant
        assert rows(model.run(sequences)) == rows(expected)


def test_every_task_is_what_the_oracle_computes(folder: Path) -> None:
    sequences = random_sequences(9)
    for task in (small_model.EMBEDDING, small_model.SEQUENCE, small_model.TOKENS, small_model.ANSWERS):
        program, tensors = small_model.build(task)
        expected = oracle.run(program, tensors, [sequence.tolist() for sequence in sequences])[task.output]
        values = load(folder / f"{task.kind}.qrt").run(sequences).values
        actual = np.concatenate([np.atleast_2d(value) for value in values])
        np.testing.assert_array_equal(actual, expected, err_msg=task.kind)


def test_bits_do_not_depend_on_the_batch(folder: Path) -> None:
    """Also across the passes that a batch of many tokens is cut into."""
    for name in ("embedding", "token_classification"):
        model = load(folder / f"{name}.qrt")
        sequences = random_sequences(700)
        types = [sequence % 2 for sequence in sequences]
        together = rows(model.run(sequences, types))
        assert rows(model.run(sequences[::-1], types[::-1])) == together[::-1]
        for index in range(0, 700, 13):
            assert rows(model.run([sequences[index]], [types[index]])) == [together[index]]


def test_outputs_have_the_shape_of_the_batch(folder: Path) -> None:
    model = load(folder / "token_classification.qrt")
    output = model.run([[1], [2, 3, 4]])
    assert [values.shape for values in output.values] == [(1, 5), (3, 5)]
    assert model.run([]).values == []
    assert load(folder / "embedding.qrt").run([]).values.shape == (0, small_model.WIDTH)


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i2", "u2", "i4", ">u4", "i8", "u8", list, tuple])
def test_any_integers_are_taken(model: Model, dtype: Any) -> None:
    sequences = random_sequences(5)
    convert = dtype if callable(dtype) else (lambda sequence: sequence.astype(dtype))
    output = model.run([convert(sequence) for sequence in sequences])
    assert rows(output) == rows(model.run(sequences))


def test_rows_of_a_matrix_are_sequences(model: Model) -> None:
    matrix = np.arange(24).reshape(4, 6)[:, ::2] % len(small_model.WORDS)
    assert rows(model.run(matrix)) == rows(model.run(matrix.tolist()))


@pytest.mark.parametrize(
    ("sequences", "types", "message"),
    [
        ([[1], []], None, "sequence 1 has 0 tokens; the model takes 1 to 24"),
        ([[1] * 25], None, "sequence 0 has 25 tokens; the model takes 1 to 24"),
        ([[1], [2, 14]], None, "sequence 1 has token id 14 at position 1; the model has 0 to 13"),
        ([[1], [-1]], None, "sequence 1 has token id -1 at position 0"),
        ([[1 << 32]], None, "token id 4294967296"),
        ([[(1 << 64) - 1]], None, "token id 18446744073709551615"),
        ([[1 << 70]], None, "sequence 0 has type object"),
        ([[1.0]], None, "sequence 0 has type float64"),
        ([[True]], None, "sequence 0 has type bool"),
        ([["a"]], None, "sequence 0 has type <U1"),
        ([3], None, "0 dimensions"),
        ([[[1]]], None, "2 dimensions"),
        ([[[1], [1, 2]]], None, "sequence 0 is no array"),
        (3, None, "the batch of token ids is of type int; give a list with those of each sequence"),
        ([[1, 2]], 0, "the batch of token types is of type int"),
        ([[1, 2]], [[0]], "same lengths"),
        ([[1, 2]], [], "same lengths"),
        ([[1, 2]], [[0, 2]], "types 0 has token type 2 at position 1; the model has 0 to 1"),
        ([[1], np.ma.array([1, 99], mask=[0, 1])], None, "sequence 1 is a masked array"),
        (np.ma.array([[1, 2]]), None, "sequence 0 is a masked array"),
        ([[1, 2]], [np.ma.array([0, 1])], "types 0 is a masked array"),
    ],
)
def test_bad_input_is_named(model: Model, sequences: Any, types: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        model.run(sequences, types)
    assert model.run([[1]]).values.shape == (1, small_model.WIDTH)


def test_unknown_output(model: Model) -> None:
    with pytest.raises(ModelError, match="no output 'x'; it has embedding, stream"):
        model.run([[1]], output="x")


def test_types_left_out_are_zero(model: Model) -> None:
    sequences = random_sequences(5)
    zeros = [np.zeros_like(sequence) for sequence in sequences]
    ones = [zero + 1 for zero in zeros]
    assert rows(model.run(sequences)) == rows(model.run(sequences, zeros)) != rows(model.run(sequences, ones))


def test_a_model_without_types_ignores_the_tokenizers(tmp_path: Path) -> None:
    model = load(small_model.save(tmp_path / "m.qrt", small_model.ANSWERS, types=0))
    assert model.limits.type_vocab_size == 1
    assert model("a b", "c a")[0].text in ("c", "a", "c a")


def test_texts_are_their_tokens(model: Model) -> None:
    tokens = [[2, 4, 7, 8, 3], [2, 3]]
    values, scale = model.run(tokens)
    result = model(["a abc", ""])
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, (values * scale).astype(np.float32))
    np.testing.assert_array_equal(model("a abc"), result[:1])
    pair = model.run([[2, 4, 3, 5, 3]], [[0, 0, 0, 1, 1]])
    np.testing.assert_array_equal(model("a", "b"), (pair.values * scale).astype(np.float32))
    assert model([]).shape == (0, small_model.WIDTH)


def test_long_texts(model: Model) -> None:
    text = "a " * 30
    with pytest.raises(ModelError, match=r"text 1 has 32 tokens.*24.*truncate=True.*--truncate"):
        model(["a", text])
    expected = model.run([[2, *[4] * 22, 3]])
    np.testing.assert_array_equal(
        model(text, truncate=True), (expected.values * model.scale).astype(np.float32)
    )
    with pytest.raises(ModelError, match="text 0"):
        model(text)


@pytest.mark.parametrize("texts", [None, 3, {"a": 1}.items])
def test_what_holds_no_texts(model: Model, texts: Any) -> None:
    with pytest.raises(ModelError, match=r"texts is of type \w+; give a string or a list of strings"):
        model(texts)


def test_choices_are_named_by_text_and_number() -> None:
    tokenizer = Tokenizer(small_model.tokenizer_json(), 12)

    def encode(*given: Any) -> list[list[list[int]]]:
        groups = encode_texts(Task("multiple_choice", "logits"), tokenizer, *given, truncate=False)
        return [[item.ids.tolist() for item in group] for group in groups]

    with pytest.raises(ModelError, match=r"text 1, choice 2 has .* tokens"):
        encode(["a", "b"], [["a", "b", "c"], ["a", "b", "a " * 99]])
    with pytest.raises(ModelError, match="text 0, choice 1 is of type int"):
        encode(["a"], [["a", 1]])
    for own in ("a", [], {"a", "b"}, {"a": 1}, iter(["a", "b"]), 3):
        with pytest.raises(ModelError, match="multiple choice takes a list of choices for each text"):
            encode(["a"], [own])
    assert encode(["a"], [np.array(["a", "b"])]) == encode(["a"], [("a", "b")])


def test_needless_and_missing_pairs(folder: Path) -> None:
    with pytest.raises(ModelError, match="context for each question"):
        load(folder / "question_answering.qrt")("who")
    with pytest.raises(ModelError, match="without pairs"):
        load(folder / "token_classification.qrt")("a", "b")
    with pytest.raises(ModelError, match="2 texts but 1 pairs"):
        load(folder / "embedding.qrt")(["a", "b"], "c")


def test_no_tokenizer(tmp_path: Path) -> None:
    model = load(small_model.save(tmp_path / "m.qrt", tokenizer=False))
    assert model.tokenizer is None
    with pytest.raises(ModelError, match="no tokenizer; feed token ids"):
        model("a")
    assert model.run([[1]]).values.shape == (1, small_model.WIDTH)


def test_bad_tokenizers(tmp_path: Path) -> None:
    from pyqrt.runtime import format as model_format

    program, tensors = small_model.build(small_model.EMBEDDING)
    whole = small_model.tokenizer_json()
    for text in ("", "{", "[]", whole.replace('"WordPiece"', '"Other"'), whole[:-40]):
        model_format.write(tmp_path / "m", program, tensors, small_model.EMBEDDING, text, {}, {})
        with pytest.raises(ModelError, match="tokenizer in the model file is malformed"):
            load(tmp_path / "m")("a")
    larger = whole.replace('"a": 4', '"a": 999')
    model_format.write(tmp_path / "m", program, tensors, small_model.EMBEDDING, larger, {}, {})
    with pytest.raises(ModelError, match="token id 999"):
        load(tmp_path / "m")("a")


def test_bad_options(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="unknown instruction set 'mmx'"):
        load(sound, isa="mmx")
    monkeypatch.setenv("PYQRT_FORCE_ISA", "mmx")
    with pytest.raises(ModelError, match=r"^PYQRT_FORCE_ISA: unknown instruction set 'mmx'"):
        load(sound)
    monkeypatch.setenv("PYQRT_FORCE_ISA", "reference")
    assert load(sound).describe()["isa"] == "reference"
    for parallel in ("", "words", "Rows", None):
        with pytest.raises(ModelError, match=f"parallel is {parallel!r}; give 'rows' or 'texts'"):
            load(sound, parallel=parallel)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [0, -1, 1025, 2**31, 2**40, 1.5, 2.0, "2", True])
def test_a_bad_number_of_threads_is_named(sound: Path, threads: Any) -> None:
    message = f"threads is {threads!r}; give a whole number from 1 to 1024, or None"
    with pytest.raises(ModelError, match=re.escape(message)):
        load(sound, threads=threads)


def test_a_number_of_threads_may_be_numpys(sound: Path) -> None:
    assert load(sound, threads=np.int64(2)).run([[1]]).values.shape == (1, small_model.WIDTH)  # type: ignore[arg-type]


@pytest.mark.parametrize("isa", [3, 0, False, b"avx2"])
def test_an_instruction_set_without_a_name_is_refused(sound: Path, isa: Any) -> None:
    with pytest.raises(ModelError, match=f"isa is {isa!r}; give one of .*reference, or None"):
        load(sound, isa=isa)


@pytest.mark.parametrize("device", [None, 5, b"cpu", ["cpu"], np.array(["cpu", "cpu"])])
def test_a_device_without_a_name_is_refused(sound: Path, device: Any) -> None:
    with pytest.raises(ModelError, match=re.escape(f"unknown device {device!r}; known: cpu")):
        load(sound, device=device)


def test_describe_and_properties(model: Model, sound: Path) -> None:
    description = model.describe()
    assert description["path"] == str(sound)
    assert description["limits"] == {"vocab_size": 14, "max_length": 24, "type_vocab_size": 2}
    assert description["outputs"][0] | {"scale": 0} == {
        "name": "embedding",
        "buffer": len(model.program.buffers) - 1,
        "scale": 0,
        "dtype": "s32",
        "rows": "sequences",
        "width": 32,
    }
    assert [node["op"] for node in description["nodes"]] == [node.op for node in model.program.nodes]
    _, tensors = small_model.build(small_model.EMBEDDING)
    assert description["tensor_bytes"] == sum(tensor.nbytes for tensor in tensors.values())
    assert model.task == small_model.EMBEDDING
    assert (model.provenance, model.report) == ({"source": "random"}, {"note": 0.5})


def test_many_threads_share_a_model(model: Model) -> None:
    batches = [random_sequences(8, seed) for seed in range(16)]
    expected = [rows(model.run(batch)) for batch in batches]
    failures: list[int] = []

    def work(number: int) -> None:
        for turn in range(20):
            index = (number + turn) % len(batches)
            if rows(model.run(batches[index])) != expected[index]:
                failures.append(index)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


def _in_child(model: Model, sequences: Any, queue: Any) -> None:
    queue.put((os.getpid(), rows(model.run(sequences))))


def test_a_forked_child_runs_the_parents_model(sound: Path) -> None:
    model = load(sound, threads=2)
    sequences = random_sequences(9)
    expected = rows(model.run(sequences))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(model, sequences, queue))
    child.start()
    pid, actual = queue.get(timeout=60)
    child.join(60)
    assert pid == child.pid != os.getpid()
    assert child.exitcode == 0
    assert actual == expected == rows(model.run(sequences))


def test_a_child_forked_while_a_tokenizer_is_made_makes_its_own(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, child_forked = threading.Event(), threading.Event()
    parent = os.getpid()

    class SlowTokenizer(Tokenizer):
        def __init__(self, json_text: str, max_length: int) -> None:
            if os.getpid() == parent:
                made.set()
                assert child_forked.wait(60)
            super().__init__(json_text, max_length)

    monkeypatch.setattr("pyqrt.runtime.tokenization.Tokenizer", SlowTokenizer)
    model = load(sound, threads=1)
    maker = threading.Thread(target=lambda: model.tokenizer)
    maker.start()
    assert made.wait(60)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)  # ends a child that hangs
        os._exit(0 if model.tokenizer is not None else 1)
    child_forked.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    maker.join(60)
    assert model.tokenizer is model.tokenizer is not None


def test_the_package_loads_models(sound: Path) -> None:
    assert pyqrt.load is load
    assert pyqrt.Model is Model
