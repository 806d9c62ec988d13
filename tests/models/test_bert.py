"""Every option of BertConfig: represented, refused by name, or without effect on a forward pass."""

import json

import pytest
import torch
from transformers import BertConfig
from transformers_reference import TOLERANCE, largest_difference, save_tiny

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.quantize.checkpoint import load_checkpoint

# option -> a value other than the tiny configurations' or the default
REPRESENTED = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "hidden_act": "relu",
    "max_position_embeddings": 9,
    "type_vocab_size": 4,
    "layer_norm_eps": 0.1,
    "id2label": {"0": "a", "1": "b", "2": "c", "3": "d"},
    "problem_type": "multi_label_classification",
}
REFUSED = {
    "is_decoder": True,
    "is_encoder_decoder": True,
    "add_cross_attention": True,
    "position_embedding_type": "relative",
    "pruned_heads": {"0": [1]},
    "quantization_config": {"quant_method": "bitsandbytes"},
    "auto_map": {"AutoModel": "modeling_jina.JinaModel"},
}
WITHOUT_EFFECT = {
    "attention_probs_dropout_prob": 0.5,
    "hidden_dropout_prob": 0.5,
    "classifier_dropout": 0.5,
    "initializer_range": 1.0,
    "pad_token_id": 3,
    "bos_token_id": 5,
    "eos_token_id": 6,
    "use_cache": False,
    "tie_word_embeddings": False,
    "chunk_size_feed_forward": 2,
    "gradient_checkpointing": True,
    "label2id": {"z": 0, "y": 1},
    "dtype": "bfloat16",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.0.0",
    "_name_or_path": "elsewhere",
    "name_or_path": "elsewhere",
    "finetuning_task": "rte",
}
# What a config.json may also hold: which outputs transformers returns, and how it generates text.
RETURNED = {"output_attentions", "output_hidden_states", "return_dict", "architectures", "model_type"}
CLASSES = next(hf for hf in bert.tiny() if hf["architectures"] == ["BertForSequenceClassification"])


def test_every_option_is_in_one_of_the_lists():
    options = set(BertConfig().to_dict())
    assert options - set(REPRESENTED) - set(REFUSED) - set(WITHOUT_EFFECT) - RETURNED == set()


def test_defaults_are_transformers():
    ours = bert.configure({"model_type": "bert", "architectures": ["BertForSequenceClassification"]}, None)
    theirs = BertConfig()
    assert ours.max_length == ours.num_positions == theirs.max_position_embeddings
    for name in set(REPRESENTED) - {"max_position_embeddings", "id2label", "problem_type"}:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.embedding_size == ours.hidden_size
    assert ours.head.labels == tuple(theirs.id2label.values())


@pytest.mark.parametrize("option", REPRESENTED)
def test_represented(option, tmp_path):
    hf = {name: value for name, value in CLASSES.items() if name != "label2id"} | {
        option: REPRESENTED[option]
    }
    assert bert.configure(hf, None) != bert.configure(CLASSES, None)
    encoder, _ = load_checkpoint(save_tiny(hf, tmp_path))
    lengths = [2, encoder.config.max_length]
    assert largest_difference(encoder, tmp_path, lengths=lengths, with_types=True) < TOLERANCE


@pytest.mark.parametrize("option", REFUSED)
def test_refused_by_name(option):
    with pytest.raises(ModelError, match=f"^{option} is "):
        bert.configure(CLASSES | {option: REFUSED[option]}, None)


@pytest.mark.parametrize("option", REFUSED)
def test_unset_options_are_accepted(option):
    neutral = "absolute" if option == "position_embedding_type" else False
    for value in (None, neutral):
        assert bert.configure(CLASSES | {option: value}, None) == bert.configure(CLASSES, None)


@pytest.mark.parametrize("option", WITHOUT_EFFECT)
def test_without_effect(option, tmp_path):
    save_tiny(CLASSES, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {option: WITHOUT_EFFECT[option]}))
    encoder, _ = load_checkpoint(tmp_path)
    assert encoder.config == bert.configure(CLASSES, None)
    assert largest_difference(encoder, tmp_path, lengths=[4, 2, 24], with_types=True) < TOLERANCE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 30}, "hidden_size 30 is not a multiple of num_attention_heads 4"),
        ({"hidden_act": "geglu"}, "hidden_act: unknown activation 'geglu'"),
        ({"type_vocab_size": 0}, "type_vocab_size is 0"),
        ({"vocab_size": None}, "vocab_size is None"),
        ({"problem_type": "ranking"}, "problem_type is 'ranking'"),
        ({"problem_type": ["regression"]}, r"problem_type is \['regression'\]"),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, "id2label names two labels alike"),
        ({"id2label": {"0": "a", "2": "c"}}, "id2label numbers its labels"),
        ({"id2label": ["a", "b"]}, r"id2label is \['a', 'b'\]"),
        ({"num_labels": "2"}, "num_labels '2'"),
        (
            {"id2label": {"0": "a"}, "problem_type": "single_label_classification"},
            "'single_label' with one label",
        ),
        ({"architectures": ["BertLMHeadModel"]}, r"architectures is \['BertLMHeadModel'\]; known: BertModel"),
        ({"architectures": ["RobertaModel"]}, "architectures"),
        ({"architectures": None}, "Name a task"),
        ({"architectures": []}, "Name a task"),
    ],
)
def test_contradictions_are_named(options, message):
    with pytest.raises(ModelError, match=message):
        bert.configure(CLASSES | options, None)


def test_unknown_task_lists_the_known():
    with pytest.raises(ModelError, match="task is 'generation'; known: embedding, sequence_classification"):
        bert.configure(CLASSES, "generation")


@pytest.mark.parametrize(
    ("options", "problem", "labels"),
    [
        ({}, "single_label", ("LABEL_0", "LABEL_1")),
        ({"num_labels": 1}, "regression", ("LABEL_0",)),
        ({"num_labels": 3, "problem_type": "regression"}, "regression", ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {"1": "yes", "0": "no"}}, "single_label", ("no", "yes")),
        ({"id2label": {"1": "yes", "0": "no"}, "num_labels": 2}, "single_label", ("no", "yes")),
        # as in transformers, the number of labels wins
        ({"id2label": {"0": "a"}, "num_labels": 2}, "single_label", ("LABEL_0", "LABEL_1")),
    ],
)
def test_labels_and_problem(options, problem, labels):
    hf = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]} | options
    head = bert.configure(hf, None).head
    assert (head.problem, head.labels) == (problem, labels)


@pytest.mark.parametrize("task", ["embedding", "token_classification"])
def test_task_given_wins_over_architectures(task):
    assert bert.configure(CLASSES, task).head.task == task


def test_embedding_task_ignores_the_heads_of_other_tasks(tmp_path):
    encoder, _ = load_checkpoint(save_tiny(CLASSES, tmp_path), task="embedding")
    assert encoder.head.transform is None
    assert encoder.head.classifier is None
    assert largest_difference(encoder, tmp_path, lengths=[3, 24], with_types=True) < TOLERANCE
    norms = encoder(torch.tensor([1, 2, 3]), [0, 1, 3]).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(2))
