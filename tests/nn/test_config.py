"""Configurations that contradict themselves are refused, naming the field."""

import pytest

from pyqrt.errors import ModelError
from pyqrt.nn import Disentangled, EncoderConfig, Head, RelativeBias, Rotary
from pyqrt.nn.config import Blocks, Bottleneck, Convolution, GlobalTokens, Spans

EMBEDDING = {"task": "embedding", "pooling": "mean"}
CLASSES = {
    "task": "sequence_classification",
    "pooling": "first",
    "num_labels": 2,
    "labels": ("no", "yes"),
    "problem": "single_label",
}
TOKENS = {"task": "token_classification", "num_labels": 2, "labels": ("O", "B")}
ANSWERS = {"task": "question_answering", "num_labels": 2, "labels": ("start", "end")}
ENCODER = {
    "family": "test",
    "vocab_size": 11,
    "hidden_size": 12,
    "embedding_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 8,
    "hidden_act": "gelu",
    "max_length": 6,
    "num_positions": 6,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "head": Head(**EMBEDDING),
}


def test_valid_configurations():
    assert EncoderConfig(**ENCODER).head_dim == 4
    assert EncoderConfig(**ENCODER | {"max_length": 4, "position_offset": 2}).position_offset == 2
    for head in (EMBEDDING, CLASSES, TOKENS):
        assert Head(**head).task == head["task"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 0),
        ("hidden_size", -12),
        ("hidden_size", 13),
        ("hidden_size", "12"),
        ("embedding_size", 6),
        ("num_hidden_layers", 0),
        ("num_attention_heads", 5),
        ("num_attention_heads", 0),
        ("intermediate_size", 2.5),
        ("hidden_act", "geglu"),
        ("max_length", 7),
        ("max_length", 0),
        ("num_positions", True),
        ("position_offset", 1),
        ("position_offset", -1),
        ("type_vocab_size", -1),
        ("type_vocab_size", None),
        ("layer_norm_eps", -1e-5),
        ("layer_norm_eps", float("nan")),
        ("layer_norm_eps", "1e-12"),
    ],
)
def test_bad_encoder_field_is_named(field, value):
    with pytest.raises(ModelError, match=field):
        EncoderConfig(**ENCODER | {field: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layer_groups": 2}, "layer_groups 2"),
        ({"layers_per_group": 2}, "layers_per_group 2"),
        ({"layer_groups": -1}, "layer_groups"),
        ({"norm": "middle"}, "norm is 'middle'"),
        ({"embedding_norm": False}, "embedding_norm"),
        ({"first_norm": False}, "first_norm"),
        ({"windows": (1, 2)}, "windows has 2 entries"),
        ({"windows": (-1,)}, "windows is -1"),
        ({"windows": (3,), "layer_groups": 1}, "windows"),
        ({"rotary": Rotary(bases=(1e4, 1e4))}, "rotary.bases has 2 entries"),
        ({"rotary": Rotary(bases=(1e4,), size=3)}, "rotary.size is 3"),
        ({"rotary": Rotary(bases=(1e4,), size=6)}, "rotary.size is 6"),
        (
            {"rotary": Rotary(bases=(1e4,)), "relative": RelativeBias(buckets=4, max_distance=9)},
            "relative positions beside it",
        ),
        ({"bottleneck": Bottleneck(size=0)}, "bottleneck.size"),
        ({"bottleneck": Bottleneck(size=7)}, "bottleneck.size 7 is not a multiple"),
        ({"bottleneck": Bottleneck(size=4), "norm": "pre"}, "bottleneck: implemented for post-norm"),
        ({"convolution": Convolution(reach=-1, activation="tanh")}, "convolution.reach"),
        ({"convolution": Convolution(reach=1, activation="no")}, "convolution.activation"),
        (
            {"convolution": Convolution(reach=1, activation="tanh"), "norm": "pre"},
            "convolution: implemented for post-norm",
        ),
        ({"global_tokens": GlobalTokens(), "norm": "pre"}, "global_tokens: implemented for post-norm"),
        (
            {"global_tokens": GlobalTokens(until=11)},
            "global_tokens.until is 11; it must be one of vocab_size",
        ),
        ({"global_tokens": GlobalTokens(after=-1)}, "global_tokens.after is -1"),
        ({"blocks": Blocks(size=0, beyond=1, repeats=1)}, "blocks.size is 0"),
        ({"blocks": Blocks(size=1, beyond=-1, repeats=1)}, "blocks.beyond is -1"),
        ({"blocks": Blocks(size=1, beyond=1, repeats=1.5)}, "blocks.repeats is 1.5"),
        (
            {"blocks": Blocks(size=1, beyond=1, repeats=1), "windows": (3, 3)},
            "blocks: windows and global_tokens beside them are not implemented",
        ),
        ({"head": Head(**ANSWERS, spans=Spans(token=11))}, "head.spans.token: not one of vocab_size 11"),
        ({"ffn_blocks": 0}, "ffn_blocks"),
        ({"word_reach": -1}, "word_reach"),
        ({"word_reach": 1, "embedding_projection": True}, "word_reach: implemented without"),
        ({"head": Head(**TOKENS, feed_forward=True), "norm": "pre"}, "head.feed_forward"),
        ({"relative": RelativeBias(buckets=2, max_distance=9)}, "relative.buckets"),
        ({"relative": RelativeBias(buckets=32, max_distance=8)}, "relative.max_distance"),
        ({"relative": Disentangled(span=0)}, "relative.span"),
    ],
)
def test_structures_that_contradict_themselves(fields, message):
    with pytest.raises(ModelError, match=message):
        EncoderConfig(**ENCODER | fields)


def test_order_of_shared_layers():
    shared = {"num_hidden_layers": 6, "layer_groups": 2, "layers_per_group": 1}
    assert EncoderConfig(**ENCODER | shared).layer_order == (0, 0, 0, 1, 1, 1)
    pairs = {"num_hidden_layers": 8, "layer_groups": 2, "layers_per_group": 2}
    assert EncoderConfig(**ENCODER | pairs).layer_order == (0, 1, 0, 1, 2, 3, 2, 3)
    assert EncoderConfig(**ENCODER | {"num_hidden_layers": 3}).layer_order == (0, 1, 2)


@pytest.mark.parametrize(
    ("valid", "field", "value"),
    [
        (EMBEDDING, "task", "translation"),
        (EMBEDDING, "pooling", None),
        (EMBEDDING, "pooling", "median"),
        (EMBEDDING, "num_labels", 2),
        (EMBEDDING, "labels", ("a",)),
        (EMBEDDING, "problem", "regression"),
        (EMBEDDING, "transform_activation", "geglu"),
        (CLASSES, "pooling", None),
        (CLASSES, "normalize", True),
        (CLASSES, "num_labels", 0),
        (CLASSES, "labels", ("no",)),
        (CLASSES, "problem", None),
        (CLASSES, "problem", "ranking"),
        (CLASSES | {"labels": ("score",)}, "num_labels", 1),
        (TOKENS, "pooling", "mean"),
        (TOKENS, "transform_norm", True),
        (TOKENS, "tied", True),
        (TOKENS, "problem", "single_label"),
        (TOKENS | {"labels": ("a", "b", "c"), "num_labels": 3}, "task", "question_answering"),
        (TOKENS, "spans", Spans(token=1)),
        (ANSWERS | {"transform_activation": "gelu"}, "spans", Spans(token=1)),
    ],
)
def test_bad_head_is_refused(valid, field, value):
    with pytest.raises(ModelError):
        Head(**valid | {field: value})
