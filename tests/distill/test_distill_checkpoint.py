"""From a teacher's directory to a student: model files, directories, kills, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoModel, AutoModelForSequenceClassification
from typer.testing import CliRunner, Result

import pyqrt
from pyqrt.cli import app
from pyqrt.distill import api
from pyqrt.distill.api import Training, distill_checkpoint, weights_of
from pyqrt.distill.objective import Weights
from pyqrt.distill.student import student_from
from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.quantize.api import quantize_checkpoint, quantize_encoder
from pyqrt.quantize.checkpoint import load_checkpoint
from pyqrt.runtime.format import read
from pyqrt.train import save
from tiny_checkpoint import checkpoint

EMBEDDING, CLASSES, NARROW = (
    0,
    3,
    next(  # numbers of tiny BERTs
        number for number, hf in enumerate(family("bert").tiny()) if hf["hidden_size"] == 39
    ),
)
SHORT = Training(epochs=1, integer_epochs=1, learning_rate=1e-2, integer_learning_rate=1e-3, batch=8)


def write_texts(path: Path, count: int = 40) -> Path:
    path.write_text("\n".join(f"{chr(97 + i % 26)} cab {'bean ' * (i % 5)}" for i in range(count)))
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return write_texts(tmp_path / "texts.txt")


def test_a_student_of_one_layer_becomes_integers(tmp_path: Path, texts: Path) -> None:
    teacher = checkpoint(tmp_path / "teacher", CLASSES)
    output = tmp_path / "student.qrt"
    report = distill_checkpoint(
        teacher, output, texts, layers=1, weights=weights_of("tinybert"), training=SHORT, progress=False
    )
    model = pyqrt.load(output)
    assert [node.op for node in model.program.nodes].count("attention") == 1
    assert model.task.labels == pyqrt_labels(teacher)
    assert len(model(["a cab", "bean"])) == 2
    assert model.report["heldout"] == report["heldout"]
    assert model.provenance["layers"] == 1
    assert report["losses"].keys() == {"float", "integer"}
    assert report["examples"] == 35
    assert report["heldout"]["rows"] == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student.qrt", "teacher", "texts.txt"]


def pyqrt_labels(directory: Path) -> tuple[str, ...]:
    return load_checkpoint(directory)[0].config.head.labels


def test_distillation_brings_the_student_near(tmp_path: Path, texts: Path) -> None:
    teacher = checkpoint(tmp_path / "teacher", EMBEDDING)
    near = {}
    for epochs in (0, 8):
        training = Training(epochs=epochs, integer_epochs=0, learning_rate=5e-3, batch=8)
        output = tmp_path / f"{epochs}.qrt"
        report = distill_checkpoint(teacher, output, texts, layers=1, training=training, progress=False)
        near[epochs] = report["heldout"]["mean_cosine"]
    assert 1 - near[8] < (1 - near[0]) / 2


def test_integers_are_trained_beyond_post_training_quantization(tmp_path: Path, texts: Path) -> None:
    teacher = checkpoint(tmp_path / "teacher", EMBEDDING)
    near = {}
    for epochs in (0, 8):
        training = Training(epochs=0, integer_epochs=epochs, integer_learning_rate=1e-5, batch=8)
        output = tmp_path / f"{epochs}.qrt"
        report = distill_checkpoint(teacher, output, texts, training=training, progress=False)
        near[epochs] = report["heldout"]["relative_error"]
    assert near[8] < near[0] * 0.95


def test_integers_begin_where_quantize_ends(tmp_path: Path, texts: Path) -> None:
    teacher, output = checkpoint(tmp_path / "teacher", EMBEDDING), tmp_path / "model.qrt"
    training = Training(epochs=0, integer_epochs=1, integer_learning_rate=1e-12)
    distill_checkpoint(teacher, output, texts, training=training, progress=False)
    encoder, source = load_checkpoint(teacher)
    weights, place = weights_of("result"), torch.device("cpu")
    course = api._Course(teacher, None, None, None, texts, weights, training, place)
    expected = quantize_encoder(encoder, course.lessons.student, tokenizer=source.tokenizer_json)
    actual = pyqrt.load(output)
    assert actual.program == expected.program
    tensors = read(output).tensors
    for name, tensor in expected.tensors.items():
        np.testing.assert_array_equal(tensors[name], tensor, err_msg=name)


@pytest.mark.parametrize("stage", ["training in floats", "training in integers"])
def test_a_killed_training_continues_to_the_same_bytes(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    teacher = checkpoint(tmp_path / "teacher", CLASSES)
    run = partial(
        distill_checkpoint, teacher, data=texts, layers=1, weights=weights_of("minilm"), training=SHORT
    )
    whole, killed = tmp_path / "whole.qrt", tmp_path / "killed.qrt"
    run(output=whole, progress=False)

    @contextmanager
    def kill_at_third_step(shown: bool) -> Iterator[Any]:
        def progress(at: str, done: int, of: int) -> None:
            steps.append((at, done))
            if at == stage and done == 3:
                raise KeyboardInterrupt

        yield progress

    steps: list[tuple[str, int]] = []
    with monkeypatch.context() as patched:
        patched.setattr(api, "progress_bars", kill_at_third_step)
        patched.setattr(api, "SavePoint", partial(api.SavePoint, seconds=0.0))
        with pytest.raises(KeyboardInterrupt):
            run(output=killed)
    kind = "float" if "float" in stage else "integer"
    assert (tmp_path / f"killed.qrt.{kind}-training").exists()
    assert not killed.exists()

    steps.clear()
    with monkeypatch.context() as patched:
        patched.setattr(api, "progress_bars", lambda shown: contextmanager(recording(steps))())
        run(output=killed)
    assert (stage, 2) not in steps, "it started from the beginning"
    assert (stage, 3) in steps
    assert killed.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*-training"))


def recording(steps: list[tuple[str, int]]) -> Any:
    def progress() -> Iterator[Any]:
        yield lambda stage, done, of: steps.append((stage, done))

    return progress


@pytest.mark.parametrize("number", [EMBEDDING, CLASSES])
def test_a_float_student_is_a_checkpoint(tmp_path: Path, texts: Path, number: int) -> None:
    teacher, output = checkpoint(tmp_path / "teacher", number), tmp_path / "student"
    training = Training(epochs=2, learning_rate=1e-2, batch=8)
    report = distill_checkpoint(teacher, output, texts, layers=1, training=training, progress=False)
    assert report["losses"].keys() == {"float"}
    assert report["heldout"]["rows"] == 5
    student, source = load_checkpoint(output)
    assert student.config.num_hidden_layers == 1
    trained, untrained = (load_file(path / "model.safetensors") for path in (output, teacher))
    assert any((untrained[name.removeprefix("bert.")] != trained[name]).any() for name in trained)
    ids = [2, 5, 6, 3]
    batch = torch.tensor(ids), [0, len(ids)]
    cls = AutoModelForSequenceClassification if number == CLASSES else AutoModel
    theirs = cls.from_pretrained(output)(torch.tensor([ids]))
    ours = student(*batch)
    if number == CLASSES:
        torch.testing.assert_close(ours, theirs.logits, atol=1e-5, rtol=1e-4)
    else:
        mean = functional.normalize(theirs.last_hidden_state.mean(1), dim=-1)
        torch.testing.assert_close(ours, mean, atol=1e-5, rtol=1e-4)
    quantize_checkpoint(output, tmp_path / "student.qrt", calibration=texts, force=True, progress=False)
    assert source.tokenizer_json is not None


def relabel(directory: Path, *labels: str, **options: str) -> None:
    """Gives a classifier other labels, at most as many as it has."""
    config = json.loads((directory / "config.json").read_text())
    config |= {"id2label": {str(number): label for number, label in enumerate(labels)}, **options}
    config["label2id"] = {label: number for number, label in enumerate(labels)}
    (directory / "config.json").write_text(json.dumps(config))
    tensors = load_file(directory / "model.safetensors")
    tensors |= {name: tensors[name][: len(labels)] for name in ("classifier.weight", "classifier.bias")}
    save_file(tensors, directory / "model.safetensors")


def test_labels_are_learned(tmp_path: Path) -> None:
    """A random teacher tells nothing of the labels; the term labels does."""
    teacher = checkpoint(tmp_path / "teacher", CLASSES)
    relabel(teacher, "negative", "positive")
    table = tmp_path / "train.tsv"
    rows = [f"{'a cab' if i % 2 else 'no bean'} {chr(97 + i % 26)}\t{i % 2}" for i in range(64)]
    table.write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
    weights = Weights({"labels": 1.0})
    training = Training(epochs=0, integer_epochs=6, integer_learning_rate=1e-3, batch=8)
    output = tmp_path / "student.qrt"
    distill_checkpoint(
        teacher, output, table, task="sst2", weights=weights, training=training, progress=False
    )
    texts, labels = zip(*(row.split("\t") for row in rows), strict=True)
    found = [result.label for result in pyqrt.load(output)(list(texts))]
    assert np.mean([a == pyqrt_labels(teacher)[int(b)] for a, b in zip(found, labels, strict=True)]) > 0.9


SCORED = "sentence1\tsentence2\tscore\n" + "a cab\tbean\t2.5\na\tb\t0\n" * 8
JUDGED = "sentence\tlabel\n" + "a cab\t1\nno bean\t0\n" * 8
MULTI_LABEL, REGRESSION = "multi_label_classification", "regression"


@pytest.mark.parametrize(
    ("task", "table", "teacher", "labels", "problem", "message"),
    [
        ("stsb", SCORED, "embedding", (), "", r"embedding with 0 .*_classification \(regression\) with 1:"),
        ("stsb", SCORED, "token_classification", (), "", "token_classification with .*regression"),
        ("stsb", SCORED, "sequence_classification", ("a", "b"), "", "single_label.*regression"),
        ("stsb", SCORED, "sequence_classification", ("a", "b"), REGRESSION, "regression.* 2 labels.* 1:"),
        ("stsb", SCORED, "sequence_classification", ("a",), MULTI_LABEL, "multi_label.*regression"),
        ("sst2", JUDGED, "sequence_classification", ("negative", "positive"), MULTI_LABEL, "single_label"),
        ("sst2", JUDGED, "sequence_classification", ("no", "yes"), "", "labels are .'negative', 'positive'"),
        ("sst2", JUDGED, "masked_lm", (), "", r"masked_lm .*\(single_label\) with 2: take a teacher"),
    ],
)
def test_labels_need_a_head_of_their_task(
    tmp_path: Path, task: str, table: str, teacher: str, labels: tuple[str, ...], problem: str, message: str
) -> None:
    directory, data = checkpoint(tmp_path / "teacher", task=teacher), tmp_path / "train.tsv"
    if labels:
        relabel(directory, *labels, problem_type=problem or "single_label_classification")
    data.write_text(table)
    run = partial(distill_checkpoint, directory, data=data, task=task, training=SHORT, progress=False)
    with pytest.raises(ModelError, match=message):
        run(tmp_path / "x", weights=Weights({"labels": 1.0}))
    assert run(tmp_path / "texts-alone", weights=Weights({"hidden": 1.0}))["losses"]["float"]


def test_a_regression_learns_scores(tmp_path: Path) -> None:
    teacher, data = checkpoint(tmp_path / "teacher", CLASSES), tmp_path / "train.tsv"
    relabel(teacher, "likeness", problem_type=REGRESSION)
    data.write_text(SCORED)
    training = Training(epochs=12, learning_rate=1e-2, batch=8)
    report = distill_checkpoint(
        teacher,
        tmp_path / "student",
        data,
        task="stsb",
        weights=Weights({"labels": 1.0}),
        training=training,
        progress=False,
    )
    losses = report["losses"]["float"]
    assert losses[-1] < losses[0] / 4


def test_the_state_of_another_training_is_refused(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, output = checkpoint(tmp_path / "teacher", CLASSES), tmp_path / "student.qrt"

    def fail(self: Any, output: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(api._Course, "write_integers", fail)
        with pytest.raises(KeyboardInterrupt):
            distill_checkpoint(teacher, output, texts, layers=1, training=SHORT, progress=False)
    with pytest.raises(ModelError, match="of another training"):
        distill_checkpoint(teacher, output, texts, training=SHORT, progress=False)


def test_teacher_and_student_may_cut_texts_differently(tmp_path: Path, texts: Path) -> None:
    teacher = checkpoint(tmp_path / "teacher", CLASSES)
    student = checkpoint(tmp_path / "student", CLASSES)
    vocabulary = (student / "vocab.txt").read_text().split("\n")
    swapped = {"a": "b", "b": "a"}
    (student / "vocab.txt").write_text("\n".join(swapped.get(word, word) for word in vocabulary))
    run = partial(distill_checkpoint, teacher, student=student, data=texts, training=SHORT, progress=False)
    report = run(output=tmp_path / "student.qrt")
    assert report["heldout"]["rows"] == 5
    with pytest.raises(ModelError, match="different tokens"):
        run(output=tmp_path / "other.qrt", weights=weights_of("tinybert"))


def test_a_student_without_the_task_gets_the_teachers_head(tmp_path: Path, texts: Path) -> None:
    teacher = checkpoint(tmp_path / "teacher", CLASSES)
    for name, number in (("base", EMBEDDING), ("other", CLASSES)):
        student = checkpoint(tmp_path / name, number)
        if name == "other":  # the same task with other labels
            config = json.loads((student / "config.json").read_text())
            config["id2label"] = {"0": "x", "1": "y", "2": "z"}
            (student / "config.json").write_text(json.dumps(config))
        theirs, _ = load_checkpoint(teacher)
        begun, origin = student_from(student, theirs, seed=0)
        assert begun.config.head == theirs.config.head
        for key, value in theirs.head.state_dict().items():
            assert torch.equal(begun.head.state_dict()[key], value), key
        assert origin.path == student
        output = tmp_path / f"{name}-student"
        distill_checkpoint(teacher, output, texts, student=student, training=SHORT, progress=False)
        assert load_checkpoint(output)[0].config.head.labels == theirs.config.head.labels
        distill_checkpoint(
            teacher, tmp_path / f"{name}.qrt", texts, student=student, training=SHORT, progress=False
        )
        assert pyqrt.load(tmp_path / f"{name}.qrt").task.labels == theirs.config.head.labels


def test_a_student_of_another_width_gets_an_untrained_head(tmp_path: Path) -> None:
    teacher, _ = load_checkpoint(checkpoint(tmp_path / "teacher", CLASSES))
    student = checkpoint(tmp_path / "student", NARROW)
    heads = [student_from(student, teacher, seed=seed)[0].head.classifier for seed in (0, 0, 1)]
    assert heads[0].weight.shape != teacher.head.classifier.weight.shape
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert not torch.equal(heads[0].weight, heads[2].weight)


def test_a_student_with_the_teachers_labels_keeps_its_head(tmp_path: Path) -> None:
    teacher, _ = load_checkpoint(checkpoint(tmp_path / "teacher", CLASSES))
    own, _ = load_checkpoint(checkpoint(tmp_path / "student", CLASSES))
    with torch.no_grad():
        teacher.head.classifier.weight.add_(1.0)
    kept, _ = student_from(tmp_path / "student", teacher, seed=0)
    assert torch.equal(kept.head.classifier.weight, own.head.classifier.weight)


def with_pooling(directory: Path, mode: str) -> Path:
    """Makes a checkpoint a sentence-transformers model that does not normalise."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": mode}))
    return directory


def test_embeddings_are_pooled_as_the_teachers(tmp_path: Path, texts: Path) -> None:
    teacher = with_pooling(checkpoint(tmp_path / "teacher", EMBEDDING), "cls")
    student = checkpoint(tmp_path / "student", EMBEDDING)
    theirs, _ = load_checkpoint(teacher)
    begun, _ = student_from(student, theirs, seed=0)
    assert begun.config.head == theirs.config.head
    batch = torch.tensor([2, 5, 6, 3]), [0, 4]
    assert torch.equal(begun(*batch), theirs(*batch))  # their weights are the same
    run = partial(distill_checkpoint, teacher, data=texts, student=student, training=SHORT, progress=False)
    run(tmp_path / "student.qrt")
    (pool,) = [node for node in pyqrt.load(tmp_path / "student.qrt").program.nodes if node.op == "pool"]
    assert pool.attributes["kind"] == "first"
    with no_training(), pytest.raises(ModelError, match="embedding, pooling first, normalize False"):
        run(tmp_path / "out")


@contextmanager
def no_training() -> Iterator[None]:
    def teach(*args: Any, **options: Any) -> None:
        raise AssertionError("it was trained")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(api, "teach", teach)
        yield


def test_a_directory_that_cannot_be_written_is_refused_before_the_training(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = checkpoint(tmp_path / "teacher", name="dpr")
    run = partial(distill_checkpoint, teacher, data=texts, training=SHORT, progress=False)
    before = sorted(tmp_path.iterdir())
    with no_training(), pytest.raises(ModelError, match=r"dpr, architectures \['DPRQuestionEncoder'\]\) no"):
        run(tmp_path / "student")
    assert sorted(tmp_path.iterdir()) == before
    run(tmp_path / "student.qrt")
    monkeypatch.setattr("os.access", lambda place, mode: False)
    with pytest.raises(ModelError, match="may not be written to"):
        run(tmp_path / "student")


def test_a_student_may_take_longer_texts_than_its_teacher(tmp_path: Path, texts: Path) -> None:
    teacher, student = checkpoint(tmp_path / "teacher", CLASSES), checkpoint(tmp_path / "student", EMBEDDING)
    (teacher / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "BertTokenizer", "model_max_length": 9}'
    )
    distill_checkpoint(teacher, tmp_path / "out", texts, student=student, training=SHORT, progress=False)
    assert load_checkpoint(tmp_path / "out")[0].config.max_length > 9


@pytest.mark.parametrize("killed_in", ["save_checkpoint", "float_outputs"])
def test_a_directory_is_there_as_a_whole_or_not(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    """Killed after its training, while it is written or compared: the command continues."""
    teacher = checkpoint(tmp_path / "teacher", CLASSES)
    run = partial(distill_checkpoint, teacher, data=texts, layers=1, training=SHORT, progress=False)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(whole)
    home = {"save_checkpoint": save, "float_outputs": api}[killed_in]
    original = getattr(home, killed_in)

    def kill(*args: Any) -> Any:
        result = original(*args)
        if (tmp_path / "killed.float-training").exists():
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patched:
        patched.setattr(home, killed_in, kill)
        with pytest.raises(KeyboardInterrupt):
            run(killed)
    assert not killed.exists()
    killed.mkdir()  # an empty one is nothing
    (tmp_path / ".killed.part").mkdir()  # as a kill that cannot be caught leaves it
    (tmp_path / ".killed.part" / "half").write_text("")
    run(killed)
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}
    for path in whole.iterdir():
        assert (killed / path.name).read_bytes() == path.read_bytes(), path.name
    assert {path.name for path in tmp_path.iterdir()} == {"teacher", "texts.txt", "whole", "killed"}


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_commands(tmp_path: Path, texts: Path) -> None:
    teacher = checkpoint(tmp_path / "teacher", CLASSES)
    short = ("--data", texts, "--epochs", 1, "--batch", 16, "--json")
    result = invoke("qat", teacher, "-o", tmp_path / "a.qrt", *short, "--loss", "hidden=0.5")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["provenance"]["loss"]["terms"] == {"result": 1.0, "hidden": 0.5}
    options = ("--teacher", teacher, "--layers", 1, "-o", tmp_path / "b.qrt", "--method", "minilm")
    result = invoke("distill", *options, *short)
    assert result.exit_code == 0, result.stderr
    assert pyqrt.load(tmp_path / "b.qrt").provenance["layers"] == 1
    result = invoke("qat", teacher, "-o", tmp_path / "a.qrt", *short[:-1])
    assert result.exit_code == 0
    assert "heldout" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("qat {teacher} -o {folder}/x --data {texts}", "end its name in .qrt"),
        ("qat {teacher} -o {folder}/no/x.qrt --data {texts}", "there is no directory"),
        ("qat {teacher} -o {folder}/x.qrt --data {folder}/none.txt", "none.txt"),
        ("qat {teacher} -o {folder}/x.qrt --data {folder}/one.txt", "holds one example"),
        ("qat {folder} -o {folder}/x.qrt --data {texts}", "config.json"),
        ("qat {teacher} -o {folder}/x.qrt --data {texts} --loss hidden", "TERM=WEIGHT"),
        ("qat {teacher} -o {folder}/x.qrt --data {texts} --loss x=1", "no term"),
        ("qat {teacher} -o {folder}/x.qrt --data {texts} --loss labels=1", "term labels, but the data"),
        ("distill {both} --method x", "unknown method 'x'"),
        ("distill {both} --layers 3", "student has 3 layers, the teacher 2"),
        ("distill {both} --layers 1 --student {teacher}", "student and layers are both given"),
        ("distill {both} --relation-heads 2", "relation_heads is 2, but the loss has no term relations"),
        ("distill {both} --relation-layer 0", "relation_layer is 0, but the loss has no term relations"),
        ("distill --teacher {teacher} -o {teacher} --data {texts}", "exists; name a new directory"),
    ],
)
def test_errors_are_told_in_one_line(tmp_path: Path, texts: Path, arguments: str, message: str) -> None:
    teacher = checkpoint(tmp_path / "teacher", CLASSES)
    (tmp_path / "one.txt").write_text("a cab\n")
    both = f"--teacher {teacher} -o {tmp_path}/x.qrt --data {texts}"
    result = invoke(*arguments.format(teacher=teacher, folder=tmp_path, texts=texts, both=both).split())
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "x.qrt").exists()
