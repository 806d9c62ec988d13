"""Nomic BERT's config.json as Nomic publishes it, beside what transformers writes."""

import pytest

from pyqrt.errors import ModelError
from pyqrt.models import family

nomic = family("nomic_bert")

# The options of nomic-ai/nomic-embed-text-v1.5.
PUBLISHED = {
    "activation_function": "swiglu",
    "architectures": ["NomicBertModel"],
    "auto_map": {
        "AutoConfig": "nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig",
        "AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel",
    },
    "causal": False,
    "layer_norm_epsilon": 1e-12,
    "max_trained_positions": 2048,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "model_type": "nomic_bert",
    "n_embd": 768,
    "n_head": 12,
    "n_inner": 3072,
    "n_layer": 12,
    "n_positions": 8192,
    "prenorm": False,
    "qkv_proj_bias": False,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "type_vocab_size": 2,
    "use_rms_norm": False,
    "vocab_size": 30528,
}
WRITTEN = {
    "architectures": ["NomicBertModel"],
    "hidden_act": "silu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 8192,
    "model_type": "nomic_bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"},
    "type_vocab_size": 2,
    "vocab_size": 30528,
}


def test_published_options_mean_what_transformers_writes():
    assert nomic.configure(PUBLISHED, None) == nomic.configure(WRITTEN, None)


def test_names_of_transformers_win():
    assert nomic.configure(PUBLISHED | {"hidden_size": 384}, None).hidden_size == 384


def test_a_base_beside_the_other_options():
    written = {name: value for name, value in WRITTEN.items() if name != "rope_parameters"}
    assert nomic.configure(written | {"rope_theta": 50.0}, None).rotary.bases == (50.0,) * 12
    assert nomic.configure(written, None) == nomic.configure(WRITTEN, None)


def test_texts_are_no_longer_than_positions_are_unstretched():
    assert nomic.configure(PUBLISHED | {"rotary_scaling_factor": 2}, None).max_length == 2048


@pytest.mark.parametrize(("stated", "meant"), [("swiglu", "silu"), ("geglu", "gelu"), ("glu", "sigmoid")])
def test_activations(stated, meant):
    assert nomic.configure(PUBLISHED | {"activation_function": stated}, None).hidden_act == meant


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation_function": "gelu"}, "^activation_function is 'gelu'; implemented: swiglu, geglu, glu"),
        ({"prenorm": True}, "^prenorm is True"),
        ({"rotary_emb_fraction": 0.5}, "^rotary_emb_fraction is 0.5"),
        ({"rotary_emb_fraction": 0.0}, "^rotary_emb_fraction is 0.0"),
        ({"qkv_proj_bias": True}, "^qkv_proj_bias is True"),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, "^rope_type is 'linear'"),
        ({"rope_parameters": {"type": "linear", "factor": 4.0}}, "^rope_type is 'linear'"),
        ({"rotary_emb_base": "1000"}, "^the base of rotary positions .* is '1000'"),
        ({"auto_map": {"AutoModel": "elsewhere--modeling.OtherModel"}}, "^auto_map is .*code of its own"),
    ],
)
def test_what_is_not_implemented_is_named(options, message):
    with pytest.raises(ModelError, match=message):
        nomic.configure(PUBLISHED | options, None)
