"""The float encoder on packed tokens, its taps and what it refuses."""

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch

from pyqrt.errors import ModelError
from pyqrt.nn import Encoder, EncoderConfig, Head
from pyqrt.nn.packing import Packing

LENGTHS = [3, 1, 9, 3, 5, 1]
OFFSETS = [0, 3, 4, 13, 16, 21, 22]
CONFIG = EncoderConfig(
    family="test",
    vocab_size=23,
    hidden_size=15,
    embedding_size=15,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=22,
    hidden_act="gelu",
    max_length=9,
    num_positions=9,
    type_vocab_size=2,
    layer_norm_eps=1e-12,
    head=Head(task="embedding", pooling="mean", normalize=True),
)
CLASSES = Head(
    task="sequence_classification",
    pooling="first",
    transform_activation="tanh",
    num_labels=3,
    labels=("a", "b", "c"),
    problem="single_label",
)
TOKENS = Head(task="token_classification", num_labels=4, labels=("a", "b", "c", "d"))
ANSWERS = Head(task="question_answering", num_labels=2, labels=("start", "end"))


def encoder_of(config: EncoderConfig) -> Encoder:
    torch.manual_seed(1)
    return Encoder(config).eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(0, CONFIG.vocab_size, (OFFSETS[-1],), generator=generator)
    types = torch.randint(0, 2, (OFFSETS[-1],), generator=generator)
    return ids, types


def naive_attention(query, key, value, num_heads):
    rows = []
    for start, end in pairwise(OFFSETS):
        q, k, v = (x[start:end].view(end - start, num_heads, -1).transpose(0, 1) for x in (query, key, value))
        weights = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
        rows.append((weights @ v).transpose(0, 1).flatten(1))
    return torch.cat(rows)


@pytest.mark.parametrize(
    "offsets", [OFFSETS, torch.tensor(OFFSETS), torch.tensor(OFFSETS, dtype=torch.int32)]
)
def test_attention_and_its_gradients_equal_the_definition(offsets):
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.randn(22, 15, dtype=torch.float64, generator=generator) for _ in range(3)]
    upstream = torch.randn(22, 15, dtype=torch.float64, generator=generator)
    packing = Packing(offsets, torch.zeros(22, dtype=torch.int64))
    results = []
    for attend in (partial(packing.attention, scale=5**-0.5), naive_attention):
        leaves = [x.clone().requires_grad_() for x in inputs]
        context = attend(*leaves, 3)
        context.backward(upstream)
        results.append([context.detach(), *(leaf.grad for leaf in leaves)])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_packing_positions_and_pooling():
    packing = Packing(OFFSETS, torch.zeros(22, dtype=torch.int64))
    assert packing.lengths == LENGTHS
    assert packing.positions.tolist() == [i for length in LENGTHS for i in range(length)]
    x = torch.arange(44.0).view(22, 2)
    expected = torch.stack([x[start:end].mean(0) for start, end in pairwise(OFFSETS)])
    torch.testing.assert_close(packing.pool(x, "mean"), expected)
    largest = torch.stack([x[start:end].amax(0) for start, end in pairwise(OFFSETS)])
    assert torch.equal(packing.pool(-x, "max"), -torch.stack([x[s:e].amin(0) for s, e in pairwise(OFFSETS)]))
    assert torch.equal(packing.pool(x, "max"), largest)
    assert torch.equal(packing.pool(x, "first"), x[OFFSETS[:-1]])
    assert torch.equal(packing.pool(x, "last"), x[[end - 1 for end in OFFSETS[1:]]])


@pytest.mark.parametrize(
    ("head", "rows", "width"),
    [
        (CONFIG.head, "sequences", 15),
        (CLASSES, "sequences", 3),
        (TOKENS, "tokens", 4),
        (ANSWERS, "tokens", 2),
    ],
)
def test_a_sequence_does_not_see_its_neighbours(batch, head, rows, width):
    encoder = encoder_of(replace(CONFIG, head=head))
    ids, types = batch
    together = encoder(ids, OFFSETS, types)
    assert together.shape == (6 if rows == "sequences" else 22, width)
    alone = [encoder(ids[s:e], [0, e - s], types[s:e]) for s, e in pairwise(OFFSETS)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-6)


def test_pooling_and_normalisation(batch):
    ids, types = batch
    outputs = {}
    for pooling in ("mean", "first"):
        for normalize in (False, True):
            head = Head(task="embedding", pooling=pooling, normalize=normalize)
            encoder = encoder_of(replace(CONFIG, head=head))
            rows = []
            encoder.taps()["layers.1.ffn.output"].observer = lambda x, rows=rows: rows.append(x) or x
            outputs[pooling, normalize] = encoder(ids, OFFSETS, types)
    first = rows[0][OFFSETS[:-1]]
    torch.testing.assert_close(outputs["first", False], first)
    torch.testing.assert_close(outputs["first", True], first / first.norm(dim=1, keepdim=True))
    mean = torch.stack([rows[0][s:e].mean(0) for s, e in pairwise(OFFSETS)])
    torch.testing.assert_close(outputs["mean", False], mean)
    torch.testing.assert_close(outputs["mean", True], mean / mean.norm(dim=1, keepdim=True))


def test_types_default_to_zero(batch):
    encoder = encoder_of(CONFIG)
    ids, types = batch
    assert torch.equal(encoder(ids, OFFSETS), encoder(ids, OFFSETS, torch.zeros_like(ids)))
    assert not torch.equal(encoder(ids, OFFSETS), encoder(ids, OFFSETS, types))


def test_no_type_table_is_a_table_of_zeros(batch):
    with_table = encoder_of(CONFIG)
    with torch.no_grad():
        with_table.embeddings.token_type.weight.zero_()
    without = Encoder(replace(CONFIG, type_vocab_size=0))
    assert without.embeddings.token_type is None
    state = with_table.state_dict()
    del state["embeddings.token_type.weight"]
    without.load_state_dict(state)
    ids, _ = batch
    assert torch.equal(without(ids, OFFSETS), with_table(ids, OFFSETS))


def test_position_offset_skips_rows_of_the_table(batch):
    plain = encoder_of(CONFIG)
    shifted = Encoder(replace(CONFIG, num_positions=11, position_offset=2))
    state = plain.state_dict()
    table = state["embeddings.position.weight"]
    state["embeddings.position.weight"] = torch.cat([torch.full((2, 15), 1e3), table])
    shifted.load_state_dict(state)
    ids, _ = batch
    assert torch.equal(shifted(ids, OFFSETS), plain(ids, OFFSETS))


def layer_taps(index):
    attention = ("query", "key", "value", "context", "sum", "output")
    ffn = ("up", "activation", "sum", "output")
    return [f"layers.{index}.attention.{n}" for n in attention] + [f"layers.{index}.ffn.{n}" for n in ffn]


@pytest.mark.parametrize(
    ("head", "head_taps"),
    [
        (CONFIG.head, ["head.pooled", "head.output"]),
        (CLASSES, ["head.pooled", "head.pre_activation", "head.activation", "head.output"]),
        (TOKENS, ["head.output"]),
        (ANSWERS, ["head.output"]),
    ],
)
def test_taps_see_every_activation_once_in_order(batch, head, head_taps):
    encoder = encoder_of(replace(CONFIG, head=head))
    ids, types = batch
    untouched = encoder(ids, OFFSETS, types)
    seen = []
    taps = encoder.taps()
    for name, tap in taps.items():
        tap.observer = lambda x, name=name: seen.append((name, x)) or x
    assert torch.equal(encoder(ids, OFFSETS, types), untouched)
    expected = ["embeddings.sum", "embeddings.output", *layer_taps(0), *layer_taps(1), *head_taps]
    assert list(taps) == expected
    assert [name for name, _ in seen] == expected

    values = dict(seen)
    layer = encoder.layers[1]
    x = values["layers.0.ffn.output"]
    torch.testing.assert_close(values["layers.1.attention.key"], layer.attention.key(x))
    context = values["layers.1.attention.context"]
    torch.testing.assert_close(values["layers.1.attention.sum"], layer.attention.output(context) + x)
    inner = values["layers.1.ffn.up"]
    torch.testing.assert_close(values["layers.1.ffn.activation"], torch.nn.functional.gelu(inner))
    torch.testing.assert_close(values["layers.1.ffn.output"], layer.ffn.norm(values["layers.1.ffn.sum"]))
    if head is CLASSES:
        torch.testing.assert_close(values["head.activation"], values["head.pre_activation"].tanh())
        torch.testing.assert_close(values["head.pooled"], values["layers.1.ffn.output"][OFFSETS[:-1]])
    if head is not CONFIG.head:
        assert torch.equal(values["head.output"], untouched)


@pytest.mark.parametrize("head", [replace(CONFIG.head, normalize=False), CLASSES, TOKENS])
def test_what_an_observer_returns_is_used(batch, head):
    encoder = encoder_of(replace(CONFIG, head=head))
    ids, types = batch
    untouched = encoder(ids, OFFSETS, types)
    for name, tap in encoder.taps().items():
        # a constant added to a row vanishes in the norm behind it, noise does not
        tap.observer = lambda x: x + torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
        assert not torch.allclose(encoder(ids, OFFSETS, types), untouched), name
        tap.observer = None
    assert torch.equal(encoder(ids, OFFSETS, types), untouched)


def test_every_parameter_gets_a_gradient(batch):
    encoder = Encoder(replace(CONFIG, head=CLASSES))
    ids, types = batch
    encoder(ids, OFFSETS, types).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        # softmax does not change when one number is added to all its inputs, as a key bias does
        if not name.endswith("key.bias"):
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": torch.zeros(22)}, "ids must be int64"),
        ({"ids": torch.zeros(22, dtype=torch.int32)}, "ids must be int64"),
        ({"ids": torch.zeros(2, 11, dtype=torch.int64)}, "ids must be int64"),
        ({"types": torch.zeros(21, dtype=torch.int64)}, r"types must be int64 of shape \[22\]"),
        ({"ids": torch.tensor([1] * 21 + [23])}, r"ids\[21\] is 23; it must be in \[0, 23\)"),
        ({"ids": torch.tensor([-1] + [1] * 21)}, r"ids\[0\] is -1"),
        ({"types": torch.tensor([1] * 5 + [2] * 17)}, r"types\[5\] is 2; it must be in \[0, 2\)"),
        ({"offsets": []}, "offsets must start with 0 and end with the number of tokens, 22"),
        ({"offsets": [0]}, "offsets must start with 0"),
        ({"offsets": [1, 22]}, "offsets must start with 0"),
        ({"offsets": [0, 9, 18]}, "offsets must start with 0"),
        ({"offsets": [0, 9, 9, 18, 22]}, "sequence 1 has 0 tokens"),
        ({"offsets": [0, 9, 4, 13, 22]}, "sequence 1 has -5 tokens"),
        ({"offsets": [0, 5, 15, 22]}, "sequence 1 has 10 tokens; the model takes 9 at most: truncate it"),
    ],
)
def test_bad_input_is_named(batch, change, message):
    ids, types = batch
    arguments = {"ids": ids, "offsets": OFFSETS, "types": types} | change
    with pytest.raises(ModelError, match=message):
        encoder_of(CONFIG)(**arguments)


def test_without_a_type_table_only_type_zero_exists(batch):
    ids, types = batch
    with pytest.raises(ModelError, match=r"types\[\d+\] is 1; it must be in \[0, 1\)"):
        encoder_of(replace(CONFIG, type_vocab_size=0))(ids, OFFSETS, types)
