"""config.json, sentence-transformers modules and lengths."""

import json

import pytest
import torch

from pyqrt.errors import ModelError
from pyqrt.quantize.checkpoint import load_checkpoint


def modules(*kinds, paths=None):
    paths = paths or ["" if kind == "Transformer" else f"{i}_{kind}" for i, kind in enumerate(kinds)]
    return [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]


@pytest.fixture
def sentences(saved):
    """The checkpoint as a sentence-transformers directory: mean pooling, normalised."""
    saved.json("modules.json", modules("Transformer", "Pooling", "Normalize"))
    saved.json("1_Pooling/config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    return saved


def pooling_of(saved):
    head = load_checkpoint(saved.path)[0].config.head
    return head.pooling, head.normalize


def test_without_modules_embeddings_are_normalised_means(saved):
    assert pooling_of(saved) == ("mean", True)


@pytest.mark.parametrize(
    ("options", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({}, "mean"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "cls"}, "first"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, "max"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, "last"),
        ({"pooling_mode": ["cls"]}, "first"),
    ],
)
@pytest.mark.parametrize("normalize", [True, False])
def test_modules(sentences, options, pooling, normalize):
    kinds = ["Transformer", "Pooling"] + ["Normalize"] * normalize
    sentences.json("modules.json", list(reversed(modules(*kinds))))
    sentences.json("1_Pooling/config.json", {"word_embedding_dimension": 32, **options})
    assert pooling_of(sentences) == (pooling, normalize)
    norms = load_checkpoint(sentences.path)[0](torch.tensor([1, 2, 3]), [0, 1, 3]).norm(dim=1)
    assert torch.allclose(norms, torch.ones(2)) == normalize


def test_a_pooling_that_is_asked_for(sentences):
    for name, kind in (
        ("cls", "first"),
        ("first", "first"),
        ("last", "last"),
        ("max", "max"),
        ("mean", "mean"),
    ):
        head = load_checkpoint(sentences.path, pooling=name)[0].config.head
        assert (head.pooling, head.normalize) == (kind, True)
    with pytest.raises(ModelError, match=r"pooling is 'median'; embedding needs one of .*'first'"):
        load_checkpoint(sentences.path, pooling="median")


def test_no_pooling_can_be_asked_of_other_tasks(saved_as):
    saved = saved_as("BertForMaskedLM")
    with pytest.raises(ModelError, match="it can be chosen for embeddings, the task is masked_lm"):
        load_checkpoint(saved.path, pooling="cls")
    assert load_checkpoint(saved.path, "embedding", "cls")[0].config.head.pooling == "first"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling_mode_weightedmean_tokens": True}, r"pooling mean_tokens \+ weightedmean_tokens;"),
        ({"pooling_mode_cls_token": True}, r"pooling mean_tokens \+ cls_token;"),
        ({"pooling_mode_mean_tokens": False}, r"pooling \(none\);"),
        ({"pooling_mode": "weightedmean"}, "pooling weightedmean;"),
        ({"pooling_mode": ["cls", "mean"]}, r"pooling cls \+ mean;"),
        ({"pooling_mode": 3}, "pooling 3;"),
    ],
)
def test_other_pooling_is_named(sentences, options, message):
    sentences.json("1_Pooling/config.json", options)
    with pytest.raises(
        ModelError, match=rf"1_Pooling/config\.json: {message} implemented is mean, cls, lasttoken or max"
    ):
        load_checkpoint(sentences.path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (modules("Transformer", "Pooling", "LSTM"), "modules Transformer, Pooling, LSTM; implemented"),
        (modules("Transformer", "Pooling", "Normalize", "Dense"), "Normalize, Dense; implemented"),
        (modules("Transformer", "Pooling", "Dense", "Dense"), "Dense, Dense; implemented"),
        (modules("Transformer"), "modules Transformer; implemented"),
        ([{"idx": 0, "path": "", "type": "mine.Transformer"}], "module mine.Transformer is not of sentence"),
        (modules("Pooling", "Transformer", paths=["1_Pooling", ""]), "modules Pooling, Transformer"),
        ([], "modules ; implemented"),
        ({"idx": 0}, "expected a list of modules"),
        ([{"idx": 0, "path": ""}], "expected a list of modules"),
        (5, "expected a list of modules"),
        (modules("Transformer", "Pooling", paths=["", "../elsewhere"]), "no folder '../elsewhere' inside it"),
        (modules("Transformer", "Pooling", paths=["/", "1_Pooling"]), "no folder '/' inside it"),
        (modules("Transformer", "Pooling", paths=["", "9_Pooling"]), "no folder '9_Pooling' inside it"),
    ],
)
def test_bad_modules_are_named(sentences, value, message):
    (sentences.path.parent / "elsewhere").mkdir(exist_ok=True)
    sentences.json("modules.json", value)
    with pytest.raises(ModelError, match=message):
        load_checkpoint(sentences.path)


@pytest.mark.parametrize("options", [{"default_prompt_name": "query"}, {"truncate_dim": 16}])
def test_prompts_and_truncation_are_refused(sentences, options):
    saved_by_default = {"prompts": {"query": "", "document": ""}, "default_prompt_name": None}
    sentences.json("config_sentence_transformers.json", saved_by_default)
    load_checkpoint(sentences.path)
    sentences.json("config_sentence_transformers.json", saved_by_default | options)
    with pytest.raises(ModelError, match=f"{next(iter(options))} is .*not implemented"):
        load_checkpoint(sentences.path)


def test_transformer_in_a_folder_of_its_own(sentences, tmp_path_factory):
    encoder, _ = load_checkpoint(sentences.path)
    folder = sentences.path / "0_Transformer"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        (sentences.path / name).rename(folder / name)
    sentences.json("modules.json", modules("Transformer", "Pooling", paths=["0_Transformer", "1_Pooling"]))
    sentences.json("0_Transformer/sentence_roberta_config.json", {"max_seq_length": 5})
    moved, checkpoint = load_checkpoint(sentences.path)
    assert checkpoint.max_length == 5
    assert checkpoint.tokenizer_json is not None
    assert checkpoint.files == (
        "0_Transformer/config.json",
        "0_Transformer/model.safetensors",
        "0_Transformer/sentence_roberta_config.json",
        "0_Transformer/vocab.txt",
        "1_Pooling/config.json",
        "modules.json",
    )
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, moved.state_dict()[name])


def test_another_task_ignores_the_modules(sentences):
    with pytest.raises(ModelError, match=r"missing tensors: qa_outputs\.weight"):
        load_checkpoint(sentences.path, task="question_answering")


@pytest.mark.parametrize(
    ("max_seq_length", "model_max_length", "expected"),
    [
        (None, None, 24),
        (None, 10, 10),
        (None, int(1e30), 24),
        (None, 1e30, 24),
        (7, None, 7),
        (7, 5, 7),
        (100, None, 24),
    ],
)
def test_max_length(sentences, max_seq_length, model_max_length, expected):
    if max_seq_length is not None:
        sentences.json("sentence_bert_config.json", {"max_seq_length": max_seq_length})
    if model_max_length is not None:
        sentences.json("tokenizer_config.json", {"model_max_length": model_max_length})
    encoder, checkpoint = load_checkpoint(sentences.path)
    assert checkpoint.max_length == encoder.config.max_length == expected
    assert encoder.config.num_positions == 24


@pytest.mark.parametrize("value", ["long", 0, -3])
def test_bad_max_length_is_named(sentences, value):
    sentences.json("sentence_bert_config.json", {"max_seq_length": value})
    with pytest.raises(ModelError, match=r"max_.*length"):
        load_checkpoint(sentences.path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config_args": {"hidden_act": "relu"}}, "config_args sets hidden_act, which is not read"),
        ({"processor_kwargs": {"model_max_length": 5}}, "processor_kwargs sets model_max_length"),
        ({"processing_kwargs": {"text": {"max_length": 4}}}, "processing_kwargs sets text"),
        ({"transformer_task": "fill-mask"}, "transformer_task is 'fill-mask'; implemented is 'feature-extr"),
        (
            {"modality_config": {"text": {"method_output_name": "pooler_output"}}},
            "method_output_name of text is 'pooler_output'; implemented is 'last_hidden_state'",
        ),
    ],
)
def test_options_that_would_change_the_embeddings(sentences, options, message):
    without_effect = {
        "model_args": {"torch_dtype": "float16", "trust_remote_code": True},
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    }
    sentences.json("sentence_bert_config.json", without_effect)
    load_checkpoint(sentences.path)
    sentences.json("sentence_bert_config.json", without_effect | options)
    with pytest.raises(ModelError, match=rf"sentence_bert_config\.json: {message}"):
        load_checkpoint(sentences.path)


def test_a_norm_of_something_else(sentences):
    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    sentences.json("2_Normalize/config.json", names)
    with pytest.raises(ModelError, match=r"2_Normalize/config\.json: reads or writes something else than"):
        load_checkpoint(sentences.path)


def test_a_cross_encoder_is_read_by_its_architecture(saved_as):
    saved = saved_as("BertForSequenceClassification")
    saved.json("modules.json", modules("Transformer"))
    assert load_checkpoint(saved.path)[0].config.head.task == "sequence_classification"


def test_an_adapter_is_refused(saved):
    saved.json("adapter_config.json", {})
    with pytest.raises(ModelError, match=r"adapter_config\.json changes the weights; merge the adapter"):
        load_checkpoint(saved.path)


def test_competing_configurations(sentences):
    sentences.json("sentence_bert_config.json", {})
    sentences.json("sentence_roberta_config.json", {})
    with pytest.raises(
        ModelError, match=r"sentence_bert_config\.json and sentence_roberta_config\.json compete"
    ):
        load_checkpoint(sentences.path)


def test_missing_directory(tmp_path):
    with pytest.raises(
        ModelError, match="nowhere: no such directory; a model of the Hugging Face hub must be"
    ):
        load_checkpoint(tmp_path / "nowhere")


def test_missing_config(tmp_path):
    with pytest.raises(ModelError, match=r"there is no file 'config\.json'"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"{}", "model_type is None; known: "),
        (b'{"model_type": "gpt2"}', "model_type is 'gpt2'; known: .*bert"),
        (b'{"model_type": "bert", "hidden_size": 2.5, "architectures": ["BertModel"]}', "hidden_size is 2.5"),
    ],
)
def test_bad_config(saved, text, message):
    (saved.path / "config.json").write_bytes(text)
    with pytest.raises(ModelError, match=message) as error:
        load_checkpoint(saved.path)
    assert str(saved.path / "config.json") in str(error.value)


def test_a_configuration_larger_than_its_weights_allocates_nothing(saved):
    huge = json.loads((saved.path / "config.json").read_text()) | {"vocab_size": 1 << 40}
    saved.json("config.json", huge)
    with pytest.raises(ModelError, match=r"has shape \[21, 32\], expected \[1099511627776, 32\]"):
        load_checkpoint(saved.path)
