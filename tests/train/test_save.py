"""Checkpoints written by pyqrt, read by pyqrt and by transformers: every family, every task."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers_reference import load_reference, random_batch, reference_output

from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.nn import Encoder
from pyqrt.quantize.checkpoint import Checkpoint, load_checkpoint
from pyqrt.train.head import with_new_head
from pyqrt.train.save import save_checkpoint
from tiny_checkpoint import checkpoint
from tiny_encoders import tiny, tiny_configurations, tiny_encoder

# DPR's two towers have classes of their own.
CONFIGURATIONS = [(name, number) for name, number in tiny_configurations() if name != "dpr"]


def tie(encoder: Encoder) -> None:
    """Gives head parameters that the checkpoint has no tensor of its own for the value of that tensor."""
    sources = family(encoder.config.family).parameters(encoder.config)
    body = {sources[n].names[0]: p for n, p in encoder.named_parameters() if not n.startswith("head.")}
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name.startswith("head.") and sources[name].names[0] in body:
                own = body[sources[name].names[0]]
                parameter[:, : own.shape[1]] = own


def test_a_decoder_that_should_be_tied(tmp_path: Path) -> None:
    number = next(i for i, hf in enumerate(family("bert").tiny()) if "MaskedLM" in hf["architectures"][0])
    encoder, hf = tiny_encoder("bert", number), family("bert").tiny()[number]
    with pytest.raises(
        ModelError, match=r"differs from embeddings\.word_embeddings\.weight, which bert ties"
    ):
        save_checkpoint(encoder, Checkpoint(tmp_path, hf, None, {}, 24, ()), tmp_path / "saved")


def test_an_architecture_of_its_own_is_refused(tmp_path: Path) -> None:
    encoder, hf = tiny_encoder("dpr"), family("dpr").tiny()[0]
    with pytest.raises(ModelError, match=r"DPR\w+'\]; checkpoints are written of classes called"):
        save_checkpoint(encoder, Checkpoint(tmp_path, hf, None, {}, 24, ()), tmp_path / "saved")


@pytest.mark.parametrize(("name", "number"), CONFIGURATIONS)
def test_a_saved_encoder_is_read_back_and_by_transformers(tmp_path: Path, name: str, number: int) -> None:
    encoder = tiny_encoder(name, number)
    hf = {**tiny(name)[number], "torch_dtype": "float16", "dtype": "float16"}  # of other weights
    tie(encoder)
    save_checkpoint(
        encoder, Checkpoint(tmp_path, hf, None, {}, encoder.config.max_length, ()), tmp_path / "saved"
    )
    read, written = load_checkpoint(tmp_path / "saved")
    assert not {"dtype", "torch_dtype"} & written.config.keys()
    assert read.config == encoder.config
    for key, value in encoder.state_dict().items():
        assert torch.equal(read.state_dict()[key], value), key

    if hf.get("legacy") is False or "position_embedding_type" in hf:
        return  # transformers has this head by other names, of which pyqrt reads both, or not these positions
    head = encoder.config.head
    ids, offsets, types = random_batch(encoder, [1, 5, 7])
    reference = load_reference(tmp_path / "saved", head)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(ids, offsets, types),
            reference_output(reference, head, ids, offsets, types),
            rtol=1e-5,
            atol=1e-5,
        )


def test_a_class_with_for_in_its_familys_name(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "roformer", name="roformer", task="embedding")
    encoder, described = with_new_head(source, "sequence_classification", ("a", "b"), max_length=9, seed=0)
    save_checkpoint(encoder, described, tmp_path / "saved")
    read, again = load_checkpoint(tmp_path / "saved")
    assert again.config["architectures"] == ["RoFormerForSequenceClassification"]
    assert read.config.head.labels == ("a", "b")


def test_the_tokenizer_comes_along(tmp_path: Path) -> None:
    encoder, source = load_checkpoint(checkpoint(tmp_path / "bert"))
    save_checkpoint(encoder, source, tmp_path / "new" / "saved")
    _, read = load_checkpoint(tmp_path / "new" / "saved")
    assert read.tokenizer_json == source.tokenizer_json
    save_checkpoint(encoder, read, tmp_path / "new" / "saved")  # over itself
    assert load_checkpoint(tmp_path / "new" / "saved")[1].tokenizer_json == source.tokenizer_json


def test_a_source_without_architecture_is_refused(tmp_path: Path) -> None:
    encoder = tiny_encoder()
    with pytest.raises(ModelError, match="architectures is None"):
        save_checkpoint(
            encoder, Checkpoint(tmp_path, {"model_type": "bert"}, None, {}, 24, ()), tmp_path / "s"
        )
