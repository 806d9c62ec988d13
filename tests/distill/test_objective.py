"""What a student is asked for: terms, layers, projections, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from pyqrt.distill.api import weights_of
from pyqrt.distill.objective import METHODS, TERMS, Objective, Weights, _taps, layer_map
from pyqrt.distill.student import shallow_student
from pyqrt.errors import ModelError
from pyqrt.models import families, family
from pyqrt.nn import Encoder
from pyqrt.quantize.texts import pack_one
from tiny_encoders import mixed_lengths, random_sequences, tiny, tiny_configurations, tiny_encoder

MEASURED = [term for term in TERMS if term != "labels"]


def wide_teacher(**options: Any) -> Encoder:
    """A teacher twice as wide and deep as tiny BERT number 0."""
    torch.manual_seed(3)
    hf = family("bert").tiny()[0] | {"hidden_size": 64, "num_hidden_layers": 4} | options
    return Encoder(family("bert").configure(hf, None)).eval()


def value(objective: Objective, student: Encoder, teacher: Encoder) -> torch.Tensor:
    batch = pack_one(random_sequences(student, mixed_lengths(student, 4)))
    with torch.no_grad():
        expected = objective.view(teacher, batch)
    loss: torch.Tensor = objective(objective.view(student, batch), expected, batch.offsets)
    return loss


@pytest.mark.parametrize("term", MEASURED)
def test_a_copy_of_the_teacher_has_nothing_to_learn(term: Any) -> None:
    teacher = tiny_encoder()
    objective = Objective(teacher, teacher, Weights({term: 1.0}))
    assert value(objective, tiny_encoder(), teacher).item() == pytest.approx(0.0, abs=1e-5)
    assert value(objective, tiny_encoder(seed=1), teacher).item() > 1e-3


@pytest.mark.parametrize(("name", "number"), tiny_configurations())
def test_every_encoder_can_be_teacher_and_student(name: str, number: int) -> None:
    teacher, other = tiny_encoder(name, number), tiny_encoder(name, number, seed=1)
    objective = Objective(teacher, other, Weights(dict.fromkeys(MEASURED, 1.0)))
    assert value(objective, tiny_encoder(name, number), teacher).item() == pytest.approx(0.0, abs=1e-5)
    assert value(objective, other, teacher).item() > 1e-3


def test_the_layers_of_a_term_are_the_encoders() -> None:
    """One tensor a layer, shared weights or not, the norm before or after."""
    for name, number in tiny_configurations():
        encoder = tiny_encoder(name, number)
        objective = Objective(encoder, encoder, Weights({"hidden": 1.0, "cosine": 1.0}))
        view = objective.view(encoder, pack_one(random_sequences(encoder, mixed_lengths(encoder, 2))))
        (hidden,) = _taps(encoder.config, "hidden")
        assert len(view.along(hidden)) == encoder.config.num_hidden_layers
        (last,) = _taps(encoder.config, "cosine")
        assert view.along(last)[-1].shape[1] == encoder.config.hidden_size


@pytest.mark.parametrize("method", METHODS)
def test_methods_weigh_their_terms(method: str) -> None:
    teacher, student = tiny_encoder(seed=1), tiny_encoder()
    weights = weights_of(method)
    parts = {
        term: value(Objective(teacher, student, Weights({term: 1.0})), student, teacher)
        for term in weights.terms
        if term != "labels"
    }
    whole = value(Objective(teacher, student, weights), student, teacher)
    expected = sum(weights.terms[term] * part for term, part in parts.items())
    torch.testing.assert_close(whole, expected)


def test_terms_replace_those_of_the_method() -> None:
    assert weights_of("tinybert", {"hidden": 0.0, "labels": 2.0}).terms == {
        "result": 1.0,
        "embeddings": 1.0,
        "hidden": 0.0,
        "attention": 1.0,
        "labels": 2.0,
    }


def test_layers_are_matched_evenly_the_last_with_the_last() -> None:
    assert layer_map(3, 6) == [1, 3, 5]
    assert layer_map(4, 12) == [2, 5, 8, 11]
    assert layer_map(2, 2) == [0, 1]
    assert layer_map(2, 3) == [0, 2]
    assert layer_map(1, 5) == [4]
    with pytest.raises(ModelError, match="student has 3 layers, the teacher 2"):
        layer_map(3, 2)


def test_hidden_states_are_compared_by_the_layer_map() -> None:
    teacher = wide_teacher(hidden_size=32)
    student, _ = shallow_student(teacher, family("bert").tiny()[0] | {"num_hidden_layers": 4}, 2)
    objective = Objective(teacher, student, Weights({"hidden": 1.0}))
    assert objective.layers == [1, 3]
    assert objective.projection is None
    assert value(objective, student, teacher).item() > 1e-3


def test_a_shallow_student_keeps_what_the_first_layer_alone_has() -> None:
    number = next(i for i, hf in enumerate(family("deberta-v2").tiny()) if hf.get("conv_act") == "gelu")
    teacher, hf = tiny_encoder("deberta-v2", number), family("deberta-v2").tiny()[number]
    student, _ = shallow_student(teacher, hf, 1)
    weights, own = teacher.state_dict(), student.state_dict()
    assert torch.equal(own["layers.0.attention.query.weight"], weights["layers.1.attention.query.weight"])
    kernel = "layers.0.convolution.linear.weight"
    assert torch.equal(own[kernel], weights[kernel])


def test_a_narrow_student_learns_a_projection() -> None:
    teacher, student = wide_teacher(), tiny_encoder()
    weights = Weights({"hidden": 1.0, "embeddings": 1.0, "cosine": 1.0, "attention": 1.0, "relations": 1.0})
    objective = Objective(teacher, student, weights)
    value(objective, student, teacher).backward()
    (projection,) = objective.parameters()
    assert projection.shape == (64, 32)
    assert projection.grad is not None
    assert projection.grad.abs().max() > 0
    again = Objective(teacher, student, weights)
    assert torch.equal(next(iter(again.parameters())), projection)


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        ({"result": 1.0}, {}, "embedding has 32 numbers, the teacher's 64"),
        ({"attention": 1.0}, {"num_attention_heads": 2}, "student has 4 heads, the teacher 2"),
        ({"hidden": 1.0}, {"num_hidden_layers": 1}, "student has 2 layers, the teacher 1"),
        ({"relations": 1.0}, {"num_attention_heads": 64}, "relation_heads is 64; it must divide"),
    ],
)
def test_what_cannot_be_compared_is_refused(terms: Any, options: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Objective(wide_teacher(**options), tiny_encoder(), Weights(terms))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Weights({"colour": 1.0}), "'colour' is no term"),  # type: ignore[dict-item]
        (lambda: Weights({"hidden": -1.0}), "weight of hidden is -1.0"),
        (lambda: Weights({"hidden": float("nan")}), "weight of hidden is nan"),
        (lambda: Weights({"hidden": 0.0}), "no term with a weight above 0"),
        (lambda: Weights({"hidden": 1.0}, temperature=0.0), "temperature is 0.0"),
        (lambda: weights_of("best"), "unknown method 'best'; known: result, distilbert"),
        (
            lambda: Objective(tiny_encoder(), tiny_encoder(), Weights({"relations": 1.0}, relation_heads=5)),
            "relation_heads is 5; it must divide",
        ),
        (
            lambda: Objective(tiny_encoder(), tiny_encoder(), Weights({"relations": 1.0}, relation_layer=2)),
            "relation_layer is 2; the teacher has 0 to 1",
        ),
        (lambda: Objective(tiny_encoder("bert", 3), tiny_encoder(), Weights()), "student's task is"),
        (
            lambda: Objective(tiny_encoder("dpr", 1), tiny_encoder(), Weights()),
            "has 32 numbers, the teacher's 20",
        ),
        (lambda: Weights({"hidden": 1.0}, relation_heads=2), "relation_heads is 2, but the loss has no term"),
        (
            lambda: Weights({"hidden": 1.0, "relations": 0.0}, relation_layer=0),
            "relation_layer is 0, but the loss has no term relations",
        ),
    ],
)
def test_bad_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make()


@pytest.mark.parametrize(("name", "number"), tiny_configurations())
def test_a_student_of_all_layers_is_its_teacher(name: str, number: int) -> None:
    teacher, hf = tiny_encoder(name, number), tiny(name)[number]
    student, configuration = shallow_student(teacher, hf, teacher.config.num_hidden_layers)
    assert student.config == teacher.config
    assert family(name).configure(configuration, teacher.config.head.task) == teacher.config
    batch = pack_one(random_sequences(teacher, mixed_lengths(teacher, 3)))
    assert torch.equal(student(*args(batch)), teacher(*args(batch)))


@pytest.mark.parametrize("name", families())
def test_a_shallow_student_has_its_teachers_layers(name: str) -> None:
    """Of as many layers as the tiny configuration's; layers that share weights stay those layers."""
    teacher, hf = tiny_encoder(name, 0), family(name).tiny()[0]
    deep = teacher.config.num_hidden_layers
    student, configuration = shallow_student(teacher, hf, 1)
    described = family(name).configure(configuration, teacher.config.head.task)
    seen = {"windows": described.windows, "rotary": described.rotary}
    assert student.config == replace(teacher.config, num_hidden_layers=1, **seen) == described
    theirs = dict(teacher.named_parameters())
    last = teacher.config.layer_order[deep - 1]
    for key, parameter in student.named_parameters():
        assert torch.equal(parameter, theirs[key.replace("layers.0.", f"layers.{last}.")]), key
    batch = pack_one(random_sequences(teacher, mixed_lengths(teacher, 3)))
    assert torch.equal(student(*args(batch)), teacher(*args(batch))) == (deep == 1)


@pytest.mark.parametrize("layers", [1, 2, 3, 6])
def test_groups_of_shared_layers_are_kept_or_refused(layers: int) -> None:
    """Two groups of two layers each: eight layers can become four, not fewer and no odd number."""
    hf = next(hf for hf in family("albert").tiny() if hf.get("inner_group_num") == 2)
    assert hf["num_hidden_groups"] == 2
    teacher = Encoder(family("albert").configure(hf, None)).eval()
    message = "layers do not fit albert with 2 groups of 2 layers .* a multiple of 2, at least 4"
    with pytest.raises(ModelError, match="cannot share weights" if layers == 6 else f"{layers} {message}"):
        shallow_student(teacher, hf, layers)
    assert shallow_student(teacher, hf, 4)[1]["num_hidden_layers"] == 2


def args(batch: Any) -> Any:
    return batch.ids, batch.offsets, batch.types


@pytest.mark.parametrize("layers", [0, 3])
def test_a_student_has_no_more_layers_than_its_teacher(layers: int) -> None:
    with pytest.raises(ModelError, match=f"student has {layers} layers, the teacher 2"):
        shallow_student(tiny_encoder(), family("bert").tiny()[0], layers)
