"""Options that would change the result and are not implemented are refused by name."""

import pytest

from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.nn.config import Blocks

REFUSED = [
    ("roformer", {"rotary_value": True}, None, "^rotary_value is True"),
    ("roformer", {"summary_type": "attn"}, "multiple_choice", "^summary_type is 'attn'; known: last"),
    ("roformer", {"summary_activation": "tanh"}, "multiple_choice", "^summary_activation is 'tanh'"),
    (
        "roformer",
        {"summary_use_proj": True, "summary_proj_to_labels": True},
        "multiple_choice",
        "^summary_proj_to_labels is True",
    ),
    ("deberta", {"talking_head": True}, None, "^talking_head is True"),
    ("deberta", {"pos_att_type": "c2p", "relative_attention": False}, None, "^pos_att_type is 'c2p'"),
    ("deberta", {"embedding_size": 8}, None, "^embedding_size is 8: implemented is 32"),
    ("deberta-v2", {"conv_kernel_size": 4}, None, "^conv_kernel_size is 4; it must be odd"),
    ("deberta-v2", {"conv_kernel_size": 3, "conv_groups": 2}, None, "^conv_groups is 2"),
    ("longformer", {"attention_window": 7}, None, "^attention_window is 7"),
    ("big_bird", {"block_size": 0}, None, "^block_size is 0; it must be an integer of at least 1"),
    ("big_bird", {"num_random_blocks": 1.5}, None, "^num_random_blocks is 1.5; it must be an integer"),
    ("big_bird", {"attention_type": "other"}, None, "^attention_type is 'other'; known: block_sparse"),
    ("splinter", {}, "masked_lm", "^the task is masked_lm"),
    (
        "splinter",
        {"question_token_id": 61},
        "question_answering",
        "^head.spans.token: not one of vocab_size 61",
    ),
    ("longformer", {"sep_token_id": 61}, "question_answering", "^global_tokens.until is 61"),
    ("roberta", {"pad_token_id": None}, None, "^pad_token_id is None; positions begin behind it"),
    (
        "modernbert",
        {"rope_parameters": {"full_attention": {"type": "linear", "factor": 2.0}}},
        None,
        "^rope_type is 'linear'",
    ),
    ("modernbert", {"local_rope_theta": None}, None, r"^the base of rotary positions \(rope_theta\) is None"),
    ("mobilebert", {"normalization_type": "rms"}, None, "^normalization_type is 'rms'"),
    (
        "mobilebert",
        {"normalization_type": "layer_norm", "layer_norm_eps": 1e-12},
        None,
        "^layer_norm_eps is 1e-12",
    ),
    ("mobilebert", {"key_query_shared_bottleneck": False}, None, "^key_query_shared_bottleneck and"),
]


@pytest.mark.parametrize(("name", "options", "task", "message"), REFUSED)
def test_refused_by_name(name, options, task, message):
    described = family(name)
    hf = described.tiny()[0]
    described.configure(hf, None)  # which is accepted without them
    with pytest.raises(ModelError, match=message):
        described.configure(hf | options, task)


def test_big_bird_sees_blocks_of_texts_that_are_long_enough():
    big_bird = family("big_bird")
    stated = {"model_type": "big_bird", "architectures": ["BigBirdModel"]}
    assert big_bird.configure(stated, None).blocks == Blocks(size=64, beyond=704, repeats=3)
    assert big_bird.configure(stated | {"max_position_embeddings": 704}, None).blocks is None
    assert big_bird.configure(stated | {"attention_type": "original_full"}, None).blocks is None
