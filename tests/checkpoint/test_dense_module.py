"""The module Dense of sentence-transformers: a linear layer between pooling and normalisation."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules

import pyqrt
from pyqrt.errors import ModelError
from pyqrt.quantize.api import quantize_checkpoint
from pyqrt.quantize.checkpoint import load_checkpoint
from pyqrt.train.save import save_checkpoint

TEXTS = ["the cat sat on the mat", "cats, cats", "The cafe.", "unable"]


@pytest.fixture
def build(saved):
    """A function that saves the checkpoint as a model of sentence-transformers with a Dense module."""

    def build(activation, *, outputs=20, bias=True, normalize=True):
        saved.json("tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True})
        transformer = modules.Transformer(str(saved.path), max_seq_length=16)
        torch.manual_seed(3)
        dense = modules.Dense(32, outputs, bias=bias, activation_function=activation)
        parts = [transformer, modules.Pooling(32, pooling_mode="cls"), dense]
        model = SentenceTransformer(modules=parts + [modules.Normalize()] * normalize, device="cpu")
        directory = saved.path / "sentences"
        model.save(str(directory))
        return model, directory

    return build


def embed(encoder, model, texts):
    tokenized = model.tokenizer(texts)
    rows = tokenized["input_ids"]
    offsets = np.cumsum([0, *map(len, rows)]).tolist()
    with torch.no_grad():
        return encoder(torch.tensor([token for row in rows for token in row]), offsets)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "activation", [torch.nn.Tanh(), torch.nn.Identity(), torch.nn.GELU(), torch.nn.ReLU()], ids=repr
)
def test_embeddings_equal_those_of_sentence_transformers(build, activation, bias, normalize):
    model, directory = build(activation, bias=bias, normalize=normalize)
    encoder, checkpoint = load_checkpoint(directory)
    expected = model.encode(TEXTS, convert_to_tensor=True)
    assert expected.shape == (4, 20)
    torch.testing.assert_close(embed(encoder, model, TEXTS), expected, atol=1e-5, rtol=0)
    assert checkpoint.dense == "2_Dense"
    assert {"2_Dense/config.json", "2_Dense/model.safetensors"} <= set(checkpoint.files)
    assert "2_Dense/model.safetensors" in checkpoint.sha256


@pytest.mark.parametrize(("activation", "normalize"), [(torch.nn.Tanh(), True), (torch.nn.Identity(), False)])
def test_integers(build, activation, normalize, tmp_path):
    model, directory = build(activation, normalize=normalize)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXTS * 16) + "\n", encoding="utf-8")
    quantize_checkpoint(directory, tmp_path / "model.qrt", calibration=text)
    integers = pyqrt.load(tmp_path / "model.qrt")(TEXTS)
    floats = model.encode(TEXTS)
    assert integers.shape == floats.shape
    assert (
        (integers * floats).sum(1) / np.linalg.norm(integers, axis=1) / np.linalg.norm(floats, axis=1) > 0.99
    ).all()


def test_a_written_checkpoint_holds_the_module(build, tmp_path):
    model, directory = build(torch.nn.Tanh())
    encoder, checkpoint = load_checkpoint(directory)
    written = tmp_path / "written"
    save_checkpoint(encoder, checkpoint, written)
    again, _ = load_checkpoint(written)
    assert torch.equal(embed(again, model, TEXTS), embed(encoder, model, TEXTS))
    theirs = SentenceTransformer(str(written), device="cpu")
    torch.testing.assert_close(
        theirs.encode(TEXTS, convert_to_tensor=True), model.encode(TEXTS, convert_to_tensor=True)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_features": 24}, "in_features is 24; embeddings have 32"),
        ({"out_features": 24}, r"2_Dense\.linear\.weight has shape \[20, 32\], expected \[24, 32\]"),
        ({"out_features": None}, "out_features is None; expected a positive integer"),
        ({"activation_function": "mine.Tanh"}, "activation_function is 'mine.Tanh'; implemented of torch.nn"),
        ({"activation_function": "torch.nn.PReLU"}, "activation_function is 'torch.nn.PReLU'; implemented"),
        ({"module_input_name": "token_embeddings"}, "something else than sentence_embedding"),
        ({"use_residual": True}, "use_residual is True, which is not implemented"),
        ({"bias": False}, r"tensors without a use in bert: 2_Dense\.linear\.bias"),
    ],
)
def test_bad_modules_are_named(build, saved, changes, message):
    _, directory = build(torch.nn.Tanh())
    saved.options("sentences/2_Dense/config.json", **changes)
    with pytest.raises(ModelError, match=message):
        load_checkpoint(directory)


def test_missing_weights_are_named(build):
    _, directory = build(torch.nn.Tanh())
    path = directory / "2_Dense/model.safetensors"
    save_file({"linear.weight": load_file(path)["linear.weight"]}, path)
    with pytest.raises(ModelError, match=r"missing tensors: 2_Dense\.linear\.bias"):
        load_checkpoint(directory)
    path.unlink()
    with pytest.raises(
        ModelError, match=r"2_Dense: no weights; expected model\.safetensors or pytorch_model\.bin"
    ):
        load_checkpoint(directory)


def test_pickled_weights(build):
    model, directory = build(torch.nn.Tanh())
    path = directory / "2_Dense/model.safetensors"
    torch.save(load_file(path), directory / "2_Dense/pytorch_model.bin")
    path.unlink()
    encoder, _ = load_checkpoint(directory)
    torch.testing.assert_close(
        embed(encoder, model, TEXTS), model.encode(TEXTS, convert_to_tensor=True), atol=1e-5, rtol=0
    )
