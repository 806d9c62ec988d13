"""Weights are checked beside the caller, but before any result."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_model

from pyqrt.errors import ModelError
from pyqrt.runtime import Model, load
from pyqrt.runtime import format as model_format
from pyqrt.runtime.verification import Verification

DAMAGE = "the bytes of tensor 'linear_2.weight' do not match their digest: the file is damaged"


class Gate:
    """An Event without the lock that a fork could catch locked."""

    def __init__(self) -> None:
        self._opened = False

    def open(self) -> None:
        self._opened = True

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while not self._opened:
            assert time.monotonic() < deadline
            time.sleep(0.001)


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    """A model with one flipped bit in a weight matrix."""
    raw = bytearray(sound.read_bytes())
    header, data = small_model.parts(sound)
    raw[len(raw) - len(data) + header["linear_2.weight"]["data_offsets"][0] + 7] ^= 4
    path = tmp_path / "damaged.qrt"
    path.write_bytes(raw)
    return path


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """No weight is checked until this gate is opened."""
    gate = Gate()
    check = model_format.ModelFile.check_digest

    def check_later(self: model_format.ModelFile, name: str) -> None:
        if name in self.tensors and self.tensors[name].dtype == np.int8:
            gate.wait()
        check(self, name)

    monkeypatch.setattr(model_format.ModelFile, "check_digest", check_later)
    return gate


def problem_of(use: Any) -> str | None:
    try:
        use()
    except ModelError as error:
        return str(error)
    return None


def test_load_does_not_wait_but_results_do(sound: Path, held: Gate) -> None:
    model = load(sound, threads=1)  # returns although no weight can be checked yet
    results: list[Any] = []
    caller = threading.Thread(target=lambda: results.append(model.run([[1, 2]])))
    caller.start()
    caller.join(0.2)
    assert caller.is_alive()
    assert results == []
    deadline = time.monotonic() + 60
    while not any(session.arena_bytes for _, session in model._idle):  # it has run beside the check
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert results == []
    held.open()
    caller.join(60)
    assert len(results) == 1


@pytest.mark.parametrize(("threads", "others"), [(1, 1), (2, 1), (3, 2)])
def test_with_the_caller_no_more_threads_check_than_run(
    threads: int, others: int, sound: Path, held: Gate
) -> None:
    before = threading.active_count()
    model = load(sound, threads=threads)
    assert threading.active_count() == before + others
    held.open()
    model.verify()


def test_bad_input_is_told_without_waiting(sound: Path, held: Gate) -> None:
    model = load(sound, threads=1)
    with pytest.raises(ModelError, match="sequence 0 has 0 tokens"):
        model.run([[]])
    held.open()


def test_without_verification_no_weight_is_checked(damaged: Path, held: Gate) -> None:
    model = load(damaged, verify=False)
    assert model.run([[1, 2]]).values.shape == (1, small_model.WIDTH)
    assert model(["a b"]).shape == (1, small_model.WIDTH)
    held.open()
    with pytest.raises(ModelError, match=DAMAGE):
        model.verify()
    assert model.run([[1, 2]]).values.shape == (1, small_model.WIDTH)  # as was asked for


def test_no_damaged_tokenizer_is_parsed(sound: Path, tmp_path: Path) -> None:
    """Not even without verification, which is about weights."""
    header, data = small_model.parts(sound)
    begin, end = header["tokenizer"]["data_offsets"]
    path = small_model.join(tmp_path / "m.qrt", header, data[:begin] + b" " + data[begin + 1 :])
    unverified = load(path, verify=False)
    assert unverified.run([[1, 2]]).values.shape == (1, small_model.WIDTH)
    message = f"^{path}: the bytes of tensor 'tokenizer' do not match their digest"
    for use in (lambda: unverified("a"), unverified.verify, lambda: load(path).run([[1, 2]])):
        with pytest.raises(ModelError, match=message):
            use()
    metadata = header["__metadata__"]
    text = b"\xff" + data[begin + 1 : end]
    metadata["digests"] = json.dumps(
        json.loads(metadata["digests"]) | {"tokenizer": small_model.digest(text)}
    )
    small_model.join(path, header, data[:begin] + text)
    with pytest.raises(ModelError, match=f"^{path}: the tokenizer is not valid UTF-8"):
        load(path)("a")


def test_concurrent_first_runs_all_fail(damaged: Path, held: Gate) -> None:
    model = load(damaged, threads=2)
    problems: list[str | None] = []
    uses = [lambda: model.run([[1, 2]]), lambda: model("a b"), model.verify] * 4
    callers = [threading.Thread(target=lambda use=use: problems.append(problem_of(use))) for use in uses]
    for caller in callers:
        caller.start()
    held.open()
    for caller in callers:
        caller.join(60)
    assert problems == [f"{damaged}: {DAMAGE}"] * len(uses)


def test_concurrent_first_runs_all_succeed(sound: Path, held: Gate) -> None:
    expected = load(sound, verify=False).run([[1, 2]]).values.tolist()
    model = load(sound, threads=2)
    results: list[Any] = []
    callers = [
        threading.Thread(target=lambda: results.append(model.run([[1, 2]]).values.tolist())) for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    held.open()
    for caller in callers:
        caller.join(60)
    assert results == [expected] * 8


def _first_run_in_child(model: Model, held: Gate, queue: Any) -> None:
    held.open()
    queue.put(problem_of(lambda: model.run([[1, 2]])))


@pytest.mark.parametrize("which", ["sound", "damaged"])
def test_a_child_forked_during_the_check_does_it_itself(
    which: str, request: pytest.FixtureRequest, held: Gate
) -> None:
    path = request.getfixturevalue(which)
    model = load(path, threads=2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_first_run_in_child, args=(model, held, queue))
    child.start()  # the threads that check are at work, in the parent only
    problem = queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    assert problem == (None if which == "sound" else f"{path}: {DAMAGE}")
    held.open()
    assert problem_of(model.verify) == problem


def test_no_threads_to_be_had(sound: Path, damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert load(sound).run([[1, 2]]).values.shape == (1, small_model.WIDTH)
    with pytest.raises(ModelError, match=DAMAGE):
        load(damaged).run([[1, 2]])


def test_every_check_is_done_once_and_the_first_problem_is_told() -> None:
    done: list[int] = []

    def check(number: int) -> None:
        done.append(number)
        if number in (3, 5):
            raise ModelError(f"problem {number}")

    verification = Verification([lambda n=n: check(n) for n in range(8)])
    verification.start(3)
    for _ in range(2):
        with pytest.raises(ModelError, match="problem 3"):
            verification.wait()
    assert sorted(done) == list(range(8))


def test_a_check_that_breaks_is_done_again_by_the_caller() -> None:
    """What is no verdict on the file, as lack of memory, is never taken for one."""

    def check() -> None:
        raise MemoryError

    verification = Verification([check])
    for _ in range(2):
        with pytest.raises(MemoryError):
            verification.wait()
