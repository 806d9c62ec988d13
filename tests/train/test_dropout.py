"""Dropout: where it acts, how much, and that nothing stays of it."""

from __future__ import annotations

import pytest
import torch

from pyqrt.errors import ModelError
from pyqrt.nn import Encoder
from pyqrt.train.dropout import dropout
from tiny_encoders import tiny_configurations, tiny_encoder

IDS = torch.arange(20)


def run(encoder: Encoder, seed: int = 0) -> torch.Tensor:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        result: torch.Tensor = encoder(IDS, [0, 20])
    return result


def test_it_acts_in_training_only_and_leaves_nothing() -> None:
    encoder = tiny_encoder("bert", 1)
    plain = run(encoder)
    with dropout(encoder, 0.5):
        assert torch.equal(run(encoder), plain)  # in evaluation
        encoder.train()
        first = run(encoder, 1)
        assert torch.equal(run(encoder, 1), first)
        assert not torch.equal(run(encoder, 2), first)
        assert not torch.equal(first, plain)
    assert torch.equal(run(encoder), plain)


def test_a_rate_of_0_changes_nothing() -> None:
    encoder = tiny_encoder("bert", 1)
    plain = run(encoder)
    with dropout(encoder.train(), 0.0):
        assert torch.equal(run(encoder), plain)


def test_shares_and_scale() -> None:
    encoder = tiny_encoder("bert", 1).train()
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    modules = {
        "embeddings": encoder.embeddings,
        "attention": encoder.layers[0].attention.output,
        "ffn": encoder.layers[0].ffn.down,
    }
    ids = torch.arange(4000) % encoder.config.vocab_size
    offsets = list(range(0, 4001, 20))
    with torch.no_grad(), torch.random.fork_rng(), dropout(encoder, 0.5):
        for name, module in modules.items():
            own = module.forward

            def before_hooks(*args: object, name: str = name, own: object = own) -> torch.Tensor:
                assert callable(own)
                result: torch.Tensor = own(*args)
                seen[name] = (result, result)
                return result

            module.forward = before_hooks  # type: ignore[assignment]
            module.register_forward_hook(
                lambda _, __, output, name=name: seen.__setitem__(name, (seen[name][0], output))
            )
        torch.manual_seed(3)
        encoder(ids, offsets)
    assert set(seen) == set(modules)
    for whole, dropped in seen.values():
        gone = dropped == 0
        assert 0.49 < float(gone[whole != 0].float().mean()) < 0.51
        assert torch.equal(dropped[~gone], (2 * whole)[~gone])


@pytest.mark.parametrize(("name", "number"), tiny_configurations())
def test_every_family_is_hooked(name: str, number: int) -> None:
    encoder = tiny_encoder(name, number)
    ids = torch.arange(encoder.config.max_length) % encoder.config.vocab_size
    with torch.no_grad(), dropout(encoder.train(), 0.5):
        first, second = (encoder(ids, [0, len(ids)]) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_outside_is_refused(rate: float) -> None:
    with pytest.raises(ModelError, match=r"dropout is .*; it must be from 0 to below 1"):
        dropout(tiny_encoder("bert", 1), rate).__enter__()
