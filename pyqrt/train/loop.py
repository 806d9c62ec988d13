"""The training loop: AdamW over packed batches, resumable after a kill, the same bytes either way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pyqrt.errors import ModelError
from pyqrt.progress import Progress, silent

Batch = TypeVar("Batch")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to train.

    epochs: passes over the batches. learning_rate: its peak. warmup: share of the training in which the
    rate rises from 0; it then falls to 0, both linearly. weight_decay: of matrices; vectors (biases,
    gains) have none. clip: greatest Euclidean norm of all gradients together; infinity: no limit.
    seed: of torch's random numbers during the training.
    """

    epochs: int
    learning_rate: float
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, valid, limit in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("learning_rate", self.learning_rate > 0.0, "above 0"),
            ("warmup", 0.0 <= self.warmup < 1.0, "from 0 to below 1"),
            ("weight_decay", self.weight_decay >= 0.0, "at least 0"),
            ("clip", self.clip > 0.0, "above 0"),
        ):
            if not valid:
                raise ModelError(f"{name} is {getattr(self, name)}; it must be {limit}")


@dataclass(frozen=True)
class SavePoint:
    """Where the state of a training is kept, so that it survives a kill.

    path: the file; it is replaced, never written in place. identity: what the training is (data, model,
    loss); a file of another identity or other options is refused. seconds: least time between writes.
    """

    path: Path
    identity: str
    seconds: float = 60.0


def fit(
    module: nn.Module,
    batches: Callable[[int], Sequence[Batch]],
    loss: Callable[[Batch], Tensor],
    options: Options,
    *,
    rate_of: Callable[[str], float] = lambda name: 1.0,
    save_point: SavePoint | None = None,
    after_epoch: Callable[[int], None] = lambda epoch: None,
    progress: Progress = silent,
    stage: str = "training",
) -> list[float]:
    """Trains the parameters of `module` that require gradients; returns the mean loss of every epoch.

    module: holds everything that is trained and saved; several modules go into an nn.ModuleDict. It is
    in training mode while it trains, in evaluation mode afterwards.
    batches: those of an epoch (from 0), in order; the same call must give the same batches.
    loss: a batch's loss, a scalar tensor; may draw random numbers from torch's CPU generator.
    rate_of: parameter name -> factor of the learning rate. 0 leaves the parameter as it is.
    save_point: continues from its file if there is one, writes it while training, and once more at the
    end, so that another call returns at once. A training that was killed and continued gives the same
    bytes as one that was not.
    after_epoch: called with the number of every epoch that this call finishes, in evaluation mode.
    progress: told batches done, of all batches.

    The learning rate depends on the share of the training that is done at the middle of a step: it is
    never 0, and epochs may differ in their number of batches. Optimizer: AdamW (Loshchilov and Hutter
    2017, arXiv 1711.05101).

    Raises ModelError for an epoch without batches, a loss that is not finite, a module without anything
    to train, and a save point of another training.
    """
    optimizer = _optimizer(module, options, rate_of)
    state = _State(module, optimizer, options, save_point)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        state.restore()
        module.train()
        for epoch in range(state.epoch, options.epochs):
            of_epoch = batches(epoch)
            if not of_epoch:
                raise ModelError(f"epoch {epoch} has no batches: there is nothing to train on")
            total = options.epochs * len(of_epoch)
            for number in range(state.batch, len(of_epoch)):
                progress(stage, epoch * len(of_epoch) + number, total)
                share = (epoch + (number + 0.5) / len(of_epoch)) / options.epochs  # at the step's middle
                value = _step(module, optimizer, loss(of_epoch[number]), options, share)
                if value is None:
                    raise ModelError(
                        f"the loss or its gradient is not finite in epoch {epoch}, batch {number}; "
                        "lower the learning rate"
                    )
                state.advance(value, len(of_epoch))
            module.eval()
            after_epoch(epoch)
            module.train()
            progress(stage, (epoch + 1) * len(of_epoch), total)
        state.write()
    module.eval()
    return state.losses


def _optimizer(module: nn.Module, options: Options, rate_of: Callable[[str], float]) -> torch.optim.Optimizer:
    groups = []
    for name, parameter in module.named_parameters():
        factor = rate_of(name)
        if parameter.requires_grad and factor:
            decay = options.weight_decay if parameter.ndim > 1 else 0.0
            groups.append({"params": [parameter], "weight_decay": decay, "factor": factor})
    if not groups:
        raise ModelError("no parameter of the module is to be trained")
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)


def _step(
    module: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, options: Options, share: float
) -> float | None:
    """One update; the loss, or None, with nothing changed, if it or its gradient is not finite."""
    rate = options.learning_rate * _schedule(share, options.warmup)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    module.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = nn.utils.clip_grad_norm_(trained, options.clip)
    if not (loss.isfinite() and norm.isfinite()):
        return None
    optimizer.step()
    return loss.item()


def _schedule(share: float, warmup: float) -> float:
    return share / warmup if share < warmup else (1.0 - share) / (1.0 - warmup)


class _State:
    """Where a training stands, and its file."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        options: Options,
        save_point: SavePoint | None,
    ) -> None:
        self.epoch, self.batch = 0, 0
        self.losses: list[float] = []
        self._sum = 0.0
        self._module, self._optimizer = module, optimizer
        self._save_point = save_point
        self._training = {"options": asdict(options), "identity": save_point.identity if save_point else ""}
        self._written = time.monotonic()

    def advance(self, loss: float, batches: int) -> None:
        """After a batch of an epoch of `batches`."""
        self.batch += 1
        self._sum += loss
        if self.batch == batches:
            self.losses.append(self._sum / batches)
            self.epoch, self.batch, self._sum = self.epoch + 1, 0, 0.0
        if self._save_point and time.monotonic() - self._written >= self._save_point.seconds:
            self.write()

    def write(self) -> None:
        if self._save_point is None:
            return
        state = {
            "training": self._training,
            "position": [self.epoch, self.batch, self._sum, self.losses],
            "random": torch.get_rng_state(),
            "module": self._module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        path = self._save_point.path
        beside = path.with_name(f"{path.name}.part")
        torch.save(state, beside)
        beside.replace(path)
        self._written = time.monotonic()

    def restore(self) -> None:
        if self._save_point is None or not self._save_point.path.exists():
            return
        path = self._save_point.path
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
            training = state["training"]
        except Exception as error:  # torch raises many kinds for a damaged file
            raise ModelError(f"{path} cannot be continued ({error}); delete it to start afresh") from None
        if training != self._training:
            raise ModelError(
                f"{path} is of another training: {training}; this one is {self._training}. "
                "Delete it or choose another file"
            )
        self._module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.epoch, self.batch, self._sum, self.losses = state["position"]
