"""Weight files: every form gives the same encoder; every damage is named."""

import hashlib
import pickle

import pytest
import torch
from safetensors.torch import save_file

from pyqrt.errors import ModelError
from pyqrt.quantize.checkpoint import load_checkpoint

WORD = "embeddings.word_embeddings.weight"
NORM = "embeddings.LayerNorm"


def parameters(path, **arguments):
    encoder, checkpoint = load_checkpoint(path, **arguments)
    return {name: value.detach().clone() for name, value in encoder.named_parameters()}, checkpoint


def assert_same(state, expected):
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert state[name].dtype == torch.float32
        assert torch.equal(state[name], value), name


def test_encoder_is_ready_to_train_and_owns_its_weights(saved):
    encoder, checkpoint = load_checkpoint(saved.path)
    assert not encoder.training
    assert all(p.requires_grad and p.dtype == torch.float32 and p.is_cpu for p in encoder.parameters())
    before = saved.tensors[WORD]
    with torch.no_grad():
        encoder.embeddings.word.weight.zero_()
    assert torch.equal(saved.tensors[WORD], before)
    assert checkpoint.config["model_type"] == "bert"


def test_sha256_and_files(saved):
    _, checkpoint = load_checkpoint(str(saved.path))
    digest = hashlib.sha256((saved.path / "model.safetensors").read_bytes()).hexdigest()
    assert checkpoint.sha256 == {"model.safetensors": digest}
    assert checkpoint.files == ("config.json", "model.safetensors", "vocab.txt")
    assert checkpoint.path == saved.path


def test_prefix_buffers_and_heads_of_pretraining_are_understood(saved):
    expected, _ = parameters(saved.path)
    tensors = {f"bert.{name}": tensor for name, tensor in saved.tensors.items()}
    tensors["bert.embeddings.position_ids"] = torch.arange(24)[None]
    tensors["cls.predictions.bias"] = torch.zeros(21)
    tensors["cls.seq_relationship.weight"] = torch.zeros(2, 32)
    saved.tensors = tensors
    assert_same(parameters(saved.path)[0], expected)


@pytest.mark.parametrize("architecture", ["BertLMHeadModel", "BertForPreTraining"])
def test_language_models_as_embeddings(saved_as, architecture):
    saved = saved_as(architecture)
    with pytest.raises(ModelError, match=f"architectures is .*{architecture}.*Name a task"):
        load_checkpoint(saved.path)
    state, _ = parameters(saved.path, task="embedding")
    assert torch.equal(state["embeddings.word.weight"], saved.tensors[f"bert.{WORD}"])


def test_tensorflow_names_of_norms(saved):
    expected, _ = parameters(saved.path)
    renamed = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = saved.tensors
    for old, new in renamed.items():
        tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    assert f"{NORM}.gamma" in tensors
    saved.tensors = tensors
    assert_same(parameters(saved.path)[0], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(saved, dtype):
    saved.tensors = {name: tensor.to(dtype) for name, tensor in saved.tensors.items()}
    halves, _ = parameters(saved.path)
    saved.tensors = {name: tensor.float() for name, tensor in saved.tensors.items()}
    assert_same(halves, parameters(saved.path)[0])


@pytest.mark.parametrize(
    ("stem", "suffix", "save"),
    [("model", "safetensors", save_file), ("pytorch_model", "bin", torch.save)],
)
def test_shards(saved, stem, suffix, save):
    expected, _ = parameters(saved.path)
    tensors = saved.tensors
    (saved.path / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {f"{stem}-{n}-of-2.{suffix}": names[n::2] for n in range(2)}
    for file, part in shards.items():
        save({name: tensors[name] for name in part}, saved.path / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    saved.json(f"{stem}.{suffix}.index.json", index)
    state, checkpoint = parameters(saved.path)
    assert_same(state, expected)
    assert checkpoint.sha256 == {
        file: hashlib.sha256((saved.path / file).read_bytes()).hexdigest() for file in shards
    }

    index["weight_map"]["encoder.layer.9.ghost"] = next(iter(shards))
    saved.json(f"{stem}.{suffix}.index.json", index)
    with pytest.raises(ModelError, match=r"lists tensors that their files lack: encoder\.layer\.9\.ghost"):
        load_checkpoint(saved.path)
    index["weight_map"]["encoder.layer.9.ghost"] = "../elsewhere.safetensors"
    saved.json(f"{stem}.{suffix}.index.json", index)
    with pytest.raises(ModelError, match=r"there is no file '\.\./elsewhere\.safetensors'"):
        load_checkpoint(saved.path)
    saved.json(f"{stem}.{suffix}.index.json", {"weight_map": {}})
    with pytest.raises(ModelError, match="there is no weight_map"):
        load_checkpoint(saved.path)


def test_pytorch_file(saved):
    expected, _ = parameters(saved.path)
    torch.save(saved.tensors, saved.path / "pytorch_model.bin")
    (saved.path / "model.safetensors").unlink()
    state, checkpoint = parameters(saved.path)
    assert_same(state, expected)
    assert list(checkpoint.sha256) == ["pytorch_model.bin"]


class Exploit:
    """What unpickles to a call."""

    def __reduce__(self):
        return (pytest.fail, ("code in a checkpoint was run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda path: path.write_bytes(pickle.dumps({"a": Exploit()}, 2)),
            "damaged, or holds more than tensors",
        ),
        (lambda path: torch.save({"a": Exploit()}, path), "damaged, or holds more than tensors"),
        (lambda path: torch.save({"a": 1}, path), "not a dictionary of tensors"),
        (lambda path: torch.save([torch.ones(1)], path), "not a dictionary of tensors"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(b"PK\x03\x04 not a zip"), "damaged"),
    ],
)
def test_bad_pytorch_files(saved, content, message):
    (saved.path / "model.safetensors").unlink()
    content(saved.path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=rf"pytorch_model\.bin: {message}"):
        load_checkpoint(saved.path)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_safetensors(saved, keep):
    path = saved.path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged or truncated"):
        load_checkpoint(saved.path)


def test_no_weights(saved):
    (saved.path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no weights; expected model\.safetensors or pytorch_model\.bin"):
        load_checkpoint(saved.path)


def change(saved, **changes):
    tensors = saved.tensors
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    saved.tensors = tensors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({WORD: None}, r"missing tensors: embeddings\.word_embeddings\.weight \[21, 32\]"),
        ({WORD: torch.ones(21, 31)}, r"word_embeddings\.weight has shape \[21, 31\], expected \[21, 32\]"),
        ({WORD: torch.ones(32)}, r"has shape \[32\], expected \[21, 32\]"),
        ({WORD: torch.ones(21, 32, dtype=torch.int8)}, r"word_embeddings\.weight is torch\.int8, expected"),
        ({WORD: torch.ones(21, 32, dtype=torch.float64)}, r"is torch\.float64, expected"),
        ({WORD: torch.full((21, 32), float("nan"))}, r"word_embeddings\.weight holds infinities or NaNs"),
        ({f"{NORM}.bias": torch.tensor([float("inf")] * 32)}, r"LayerNorm\.bias holds infinities"),
        ({"encoder.layer.2.output.dense.bias": torch.ones(32)}, r"use in bert: encoder\.layer\.2\.output"),
        ({"lm_head.weight": torch.ones(1)}, r"tensors without a use in bert: lm_head\.weight"),
        ({f"bert.{WORD}": torch.ones(21, 32)}, "are the same tensor twice"),
        ({f"{NORM}.gamma": torch.ones(32)}, "are the same tensor twice"),
    ],
)
def test_bad_tensors_are_named(saved, changes, message):
    change(saved, **changes)
    with pytest.raises(ModelError, match=message) as error:
        load_checkpoint(saved.path)
    assert str(saved.path) in str(error.value)


def test_all_problems_are_reported_at_once(saved):
    odd = {"encoder.layer.0.output.dense.bias": torch.ones(5)}
    change(saved, **odd, **{WORD: None, "extra.tensor": torch.ones(1)})
    with pytest.raises(ModelError) as error:
        load_checkpoint(saved.path)
    for part in ("has shape [5], expected [32]", f"missing tensors: {WORD} [21, 32]", "extra.tensor"):
        assert part in str(error.value)


def test_long_lists_are_cut(saved):
    saved.tensors = {"unrelated": torch.ones(1)}
    with pytest.raises(ModelError, match="and 25 more"):
        load_checkpoint(saved.path)


def test_a_head_that_is_not_there(saved):
    with pytest.raises(
        ModelError, match=r"missing tensors: classifier\.weight \[2, 32\], classifier\.bias \[2\]"
    ):
        load_checkpoint(saved.path, task="token_classification")


DECODER, BIAS = "cls.predictions.decoder", "cls.predictions.bias"


@pytest.fixture
def masked(saved_as):
    """A masked language model, its tensors, and a function for its logits."""
    saved = saved_as("BertForMaskedLM")

    def logits():
        return load_checkpoint(saved.path)[0](torch.arange(5), [0, 5])

    return saved, saved.tensors, logits


def test_a_decoder_tied_to_the_words_may_be_at_either_or_both(masked):
    saved, tensors, logits = masked
    expected = logits()
    table = tensors.pop(f"bert.{WORD}")
    assert f"{DECODER}.weight" not in tensors
    saved.tensors = tensors | {f"{DECODER}.weight": table}
    assert torch.equal(logits(), expected)
    both = {f"bert.{WORD}": table, f"{DECODER}.weight": table, f"{DECODER}.bias": tensors[BIAS]}
    saved.tensors = tensors | {name: tensor.clone() for name, tensor in both.items()}
    assert torch.equal(logits(), expected)


@pytest.mark.parametrize(("kept", "copy"), [(f"bert.{WORD}", f"{DECODER}.weight"), (BIAS, f"{DECODER}.bias")])
def test_tied_tensors_that_differ_are_refused_and_untied_ones_are_not(masked, kept, copy):
    saved, tensors, logits = masked
    expected = logits()
    saved.tensors = tensors | {copy: tensors[kept] + 1.0}
    with pytest.raises(ModelError, match=rf"{kept} and {copy} differ, but the configuration ties them"):
        logits()
    full = {f"{DECODER}.weight": tensors[f"bert.{WORD}"], f"{DECODER}.bias": tensors[BIAS]}
    saved.tensors = {name: value.clone() for name, value in (tensors | full).items()} | {
        copy: tensors[kept] + 1.0
    }
    saved.options("config.json", tie_word_embeddings=False)
    assert not torch.equal(logits(), expected)
