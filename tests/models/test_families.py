"""Every family file, found by itself: tiny models with random weights equal transformers'."""

from pathlib import Path

import pytest
import torch
from transformers_reference import TOLERANCE, largest_difference, save_tiny

import pyqrt.models
from pyqrt.errors import ModelError
from pyqrt.models import families, family
from pyqrt.nn import Encoder, EncoderConfig
from pyqrt.nn.config import TASKS
from pyqrt.quantize.checkpoint import load_checkpoint

TINY = [
    pytest.param(hf, id=f"{model_type}-{index}-{hf['architectures'][0]}")
    for model_type in families()
    for index, hf in enumerate(family(model_type).tiny())
]


def test_families_are_the_files():
    files = {path.name for path in Path(pyqrt.models.__file__).parent.glob("*.py")} - {"__init__.py"}
    assert {f"{model_type.replace('-', '_')}.py" for model_type in families()} == files
    assert "bert" in families()


@pytest.mark.parametrize("model_type", families())
def test_family_file(model_type):
    described = family(model_type)
    assert model_type == described.MODEL_TYPE
    tasks = {described.configure(hf, None).head.task for hf in described.tiny()}
    for task in TASKS:  # each is in tiny() or refused
        if task not in tasks and model_type in ("dpr", "splinter"):
            with pytest.raises(ModelError, match="implemented"):
                described.configure(described.tiny()[0], task)


@pytest.mark.parametrize("model_type", ["gpt2", "__init__", "Bert", "", None, 3, ["bert"]])
def test_unknown_family_lists_the_known(model_type):
    with pytest.raises(ModelError, match=r"known: .*bert") as error:
        family(model_type)
    assert repr(model_type) in str(error.value)


@pytest.mark.parametrize("hf", TINY)
def test_parameters_are_the_encoders(hf):
    described = family(hf["model_type"])
    config = described.configure(hf, None)
    names = described.parameters(config)
    assert isinstance(config, EncoderConfig)
    assert list(names) == [name for name, _ in Encoder(config).named_parameters()]
    places = {(source.names, source.part) for source in names.values()}
    assert len(places) == len(names) - config.head.tied  # the decoder is the table


@pytest.mark.parametrize("with_types", [True, False])
@pytest.mark.parametrize("hf", TINY)
def test_equals_transformers(hf, with_types, tmp_path):
    encoder, _ = load_checkpoint(save_tiny(hf, tmp_path))
    longest = encoder.config.max_length
    lengths = [1, longest, 2, (longest + 1) // 2, longest, 1]
    assert largest_difference(encoder, tmp_path, lengths=lengths, with_types=with_types) < TOLERANCE


@pytest.mark.parametrize("hf", TINY)
def test_every_weight_shows_in_the_output(hf, tmp_path):
    """So that equality with transformers means that no tensor is misplaced."""
    encoder, _ = load_checkpoint(save_tiny(hf, tmp_path))
    length, last = encoder.config.max_length, encoder.config.num_hidden_layers - 1
    # of the last context a pooled first token uses its own: by projections of its own, if it is global
    tokens, unused = encoder.config.global_tokens, []
    if tokens is not None and tokens.one:
        unused = [f"layers.{last}.attention.{part}." for part in ("query", "key", "value")]
    elif tokens is not None and tokens.after is not None:
        unused = [f"layers.{last}.attention.globals."]
    ids = torch.arange(length) % encoder.config.vocab_size
    types = torch.arange(length) % max(1, encoder.config.type_vocab_size)
    with torch.no_grad():
        torch.manual_seed(6)
        before = encoder(ids, [0, length], types)
        for name, parameter in encoder.named_parameters():
            # a bias on every key leaves softmax as it is
            if name.endswith("key.bias") or name.startswith(tuple(unused)):
                continue
            saved = parameter.clone()
            # noise, as a constant can vanish in a norm
            parameter.copy_(saved + 0.1 * torch.randn(saved.shape))
            assert (encoder(ids, [0, length], types) - before).abs().max() > TOLERANCE, name
            parameter.copy_(saved)
