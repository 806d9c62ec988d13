"""The training loop on small modules: it learns, resumes byte for byte, and refuses what cannot be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pyqrt.errors import ModelError
from pyqrt.train.loop import Options, SavePoint, fit

BATCHES = 5


class Training:
    """A small regression with noise from torch's generator, that can be stopped at a batch."""

    def __init__(self, stop_at: tuple[int, int] | None = None) -> None:
        torch.manual_seed(7)
        self.module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.stop_at = stop_at
        self.epochs: list[int] = []

    def batches(self, epoch: int) -> list[tuple[int, int]]:
        return [(epoch, number) for number in range(BATCHES + epoch % 2)]

    def loss(self, batch: tuple[int, int]) -> Tensor:
        if batch == self.stop_at:
            raise InterruptedError
        generator = torch.Generator().manual_seed(100 * batch[0] + batch[1])
        x = torch.randn(16, 3, generator=generator)
        noise = 0.01 * torch.randn(16)  # of the default generator, whose state must be restored
        error: Tensor = self.module(x)[:, 0] - x.sum(dim=1) - noise
        return error.square().mean()

    def fit(
        self, path: Path | None = None, *, options: Options | None = None, identity: str = "toy"
    ) -> list[float]:
        return fit(
            self.module,
            self.batches,
            self.loss,
            options or Options(epochs=3, learning_rate=0.05, seed=3),
            save_point=SavePoint(path, identity, seconds=0.0) if path else None,
            after_epoch=self.epochs.append,
        )

    def weights(self) -> list[bytes]:
        return [value.numpy().tobytes() for value in self.module.state_dict().values()]


def test_it_learns_and_repeats() -> None:
    first, second = Training(), Training()
    losses = first.fit()
    assert losses[-1] < losses[0] / 3
    assert second.fit() == losses
    assert second.weights() == first.weights()
    assert first.epochs == [0, 1, 2]
    assert not first.module.training


def test_the_seed_matters_and_the_callers_generator_is_left_alone() -> None:
    first, second = Training(), Training()
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    first.fit()
    assert torch.equal(torch.rand(1), expected)
    second.fit(options=Options(epochs=3, learning_rate=0.05, seed=4))
    assert second.weights() != first.weights()


@pytest.mark.parametrize("stop_at", [(0, 0), (0, 3), (1, 0), (1, 5), (2, 4)])
def test_an_interrupted_training_continues_to_the_same_bytes(
    tmp_path: Path, stop_at: tuple[int, int]
) -> None:
    whole = Training()
    losses = whole.fit()
    with pytest.raises(InterruptedError):
        Training(stop_at).fit(tmp_path / "state")
    continued = Training()
    assert continued.fit(tmp_path / "state") == losses
    assert continued.weights() == whole.weights()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    whole = Training()
    losses = whole.fit(tmp_path / "state")
    again = Training(stop_at=(0, 0))  # would raise if any batch ran
    assert again.fit(tmp_path / "state") == losses
    assert again.weights() == whole.weights()
    assert again.epochs == []


def test_a_killed_process_continues_to_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from test_loop import Training\n"
        "class Killed(Training):\n"
        "    def loss(self, batch):\n"
        "        if batch == (1, 2): os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().loss(batch)\n"
        f"Killed().fit(Path({str(tmp_path / 'state')!r}))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    whole, continued = Training(), Training()
    assert continued.fit(tmp_path / "state") == whole.fit()
    assert continued.weights() == whole.weights()
    assert continued.epochs == [1, 2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"identity": "other"}, "of another training"),
        ({"options": Options(epochs=4, learning_rate=0.05)}, "epochs"),
    ],
)
def test_a_save_point_of_another_training_is_refused(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    Training().fit(tmp_path / "state")
    with pytest.raises(ModelError, match=message):
        Training().fit(tmp_path / "state", **changed)  # type: ignore[arg-type]


def test_a_damaged_save_point_is_refused(tmp_path: Path) -> None:
    Training().fit(tmp_path / "state")
    content = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"cannot be continued.*delete it"):
        Training().fit(tmp_path / "state")


def test_frozen_parameters_and_factors_of_zero_stay() -> None:
    training = Training()
    training.module[0].bias.requires_grad_(False)
    before = training.weights()
    fit(
        training.module,
        training.batches,
        training.loss,
        Options(epochs=1, learning_rate=0.1),
        rate_of=lambda name: 0.0 if name == "2.bias" else 1.0,
    )
    same = [a == b for a, b in zip(before, training.weights(), strict=True)]
    assert same == [False, True, False, True]


def test_the_rate_rises_and_falls_linearly() -> None:
    """With Adam's first step of exactly its rate, weights move by the schedule's values."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    seen: list[float] = []

    def loss(batch: int) -> Tensor:
        seen.append(module.weight.item())
        return module.weight.sum()  # a constant gradient: every step is the rate itself

    fit(
        module,
        lambda epoch: range(4),
        loss,
        Options(epochs=2, learning_rate=1.0, warmup=0.25, weight_decay=0.0),
    )
    steps = -torch.diff(torch.tensor([*seen, module.weight.item()]))
    expected = torch.tensor([1 / 4, 3 / 4, 11 / 12, 9 / 12, 7 / 12, 5 / 12, 3 / 12, 1 / 12])
    torch.testing.assert_close(steps, expected, rtol=1e-4, atol=1e-6)


def test_progress_counts_all_batches() -> None:
    seen = []
    training = Training()
    fit(
        training.module,
        lambda epoch: training.batches(0),
        training.loss,
        Options(epochs=2, learning_rate=0.1),
        progress=lambda stage, done, of: seen.append((stage, done, of)),
        stage="toy",
    )
    assert [done for _, done, _ in seen] == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]
    assert {(stage, of) for stage, _, of in seen} == {("toy", 10)}


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"clip": 0.0}, "clip is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
    ],
)
def test_bad_options_are_refused(change: dict[str, float], limit: str) -> None:
    with pytest.raises(ModelError, match=limit):
        Options(**({"epochs": 1, "learning_rate": 0.1} | change))  # type: ignore[arg-type]


def test_what_cannot_be_trained_is_refused() -> None:
    training, options = Training(), Options(epochs=1, learning_rate=0.1)
    with pytest.raises(ModelError, match="epoch 0 has no batches"):
        fit(training.module, lambda epoch: [], training.loss, options)
    before = training.weights()
    with pytest.raises(ModelError, match="not finite in epoch 0, batch 0"):
        fit(training.module, training.batches, lambda batch: training.loss(batch) / 0.0, options)
    assert training.weights() == before
    training.module.requires_grad_(False)
    with pytest.raises(ModelError, match="no parameter"):
        fit(training.module, training.batches, training.loss, options)
