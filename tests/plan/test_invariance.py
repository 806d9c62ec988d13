"""No bit of an output depends on order, neighbours, batch size, threads or instruction set."""

from __future__ import annotations

import os
import threading
from itertools import product

import numpy as np
import pytest

from pyqrt import _runtime
from pyqrt.errors import ModelError
from pyqrt.program import Output, Program
from pyqrt.quantize.api import quantize_encoder
from pyqrt.quantize.texts import Encoded
from tiny_encoders import (
    mixed_lengths,
    packed,
    random_sequences,
    rows_of,
    tiny_configurations,
    tiny_encoder,
    tiny_program,
)

NUMBERS = [number for name, number in tiny_configurations() if name == "bert"]
SUPPORTED = [isa["name"] for isa in _runtime.isas() if isa["supported"]]


def outputs(
    model: _runtime.Model,
    program: Program,
    sequences: list[Encoded],
    threads: int = 1,
    parallel: str = "rows",
) -> list[bytes]:
    """The output rows of each sequence, as bytes."""
    ids, offsets, types = packed(sequences)
    (values,) = _runtime.Session(model, threads, parallel).run(ids, offsets, types)
    rows = program.buffers[program.outputs[0].buffer].rows
    return [part.tobytes() for part in rows_of(values, offsets, rows)]


@pytest.mark.parametrize("number", NUMBERS)
def test_order_neighbours_threads_and_variants_change_no_byte(number: int) -> None:
    program, tensors = tiny_program(number)
    encoder = tiny_encoder("bert", number)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 9) * 3, seed=4)
    reference = _runtime.Model(program.to_dict(), tensors, "reference")
    alone = [outputs(reference, program, [s])[0] for s in sequences]
    assert len(set(alone)) > len(alone) // 3  # different sequences do differ
    order = np.random.RandomState(5).permutation(len(sequences))
    for isa in SUPPORTED:
        model = _runtime.Model(program.to_dict(), tensors, isa)
        for threads, parallel in product((1, 2, 3, 7), ("rows", "texts")):
            assert outputs(model, program, sequences, threads, parallel) == alone, (isa, threads, parallel)
        shuffled = outputs(model, program, [sequences[i] for i in order], 2)
        assert shuffled == [alone[i] for i in order], isa


@pytest.mark.parametrize(
    ("name", "number", "node"),
    [
        ("mobilebert", 0, "neighbours"),
        ("longformer", 2, "pool"),
        ("longformer", 4, "attention"),
        ("splinter", 2, "match"),
    ],
)
def test_threads_wait_for_the_rows_that_others_see(name: str, number: int, node: str) -> None:
    """A token's neighbours may be another thread's rows, and so may the first token's, or the question's."""
    encoder = tiny_encoder(name, number)
    file = quantize_encoder(encoder, random_sequences(encoder, mixed_lengths(encoder, 16)))
    assert node in {node.op for node in file.program.nodes}
    sequences = random_sequences(encoder, [24, 1, 7, 24, 13] * 12, seed=5)
    model = _runtime.Model(file.program.to_dict(), file.tensors, "reference")
    alone = [outputs(model, file.program, [s])[0] for s in sequences]
    for threads, parallel in product((1, 2, 3, 5), ("rows", "texts")):
        assert outputs(model, file.program, sequences, threads, parallel) == alone, (threads, parallel)


def test_a_batch_of_many_passes_equals_its_sequences() -> None:
    program, tensors = tiny_program(0)
    encoder = tiny_encoder("bert", 0)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 24) * 12, seed=6)
    assert sum(len(s.ids) for s in sequences) > 3 * 1024  # tokens of a pass
    model = _runtime.Model(program.to_dict(), tensors)
    alone = [outputs(model, program, [s])[0] for s in sequences]
    for parallel in ("rows", "texts"):
        assert outputs(model, program, sequences, 2, parallel) == alone


@pytest.mark.parametrize("number", NUMBERS)
def test_every_cut_of_the_rows_gives_the_same_bytes(number: int) -> None:
    """From fewer rows than threads to many pieces, where threads are at different nodes at a time."""
    program, tensors = tiny_program(number)
    encoder = tiny_encoder("bert", number)
    model = _runtime.Model(program.to_dict(), tensors)
    longest = encoder.config.max_length
    for lengths in (
        [1],
        [longest // 2],
        [longest],
        [longest] * 2 + [1],
        [longest, 3] * 9,
        [1] * 130,
        [longest] * 40,
    ):
        sequences = random_sequences(encoder, lengths, seed=len(lengths))
        alone = outputs(model, program, sequences)
        for threads, parallel in product((2, 3, 5, 16), ("rows", "texts")):
            cut = outputs(model, program, sequences, threads, parallel)
            assert cut == alone, (lengths, threads, parallel)


@pytest.mark.parametrize("parallel", ["rows", "texts"])
def test_repeated_runs_on_many_threads_give_the_same_bytes(parallel: str) -> None:
    """Buffers share memory while threads are at different nodes; a row in reach of two would show."""
    program, tensors = tiny_program(0)
    session = _runtime.Session(_runtime.Model(program.to_dict(), tensors), 4, parallel)
    ids, offsets, types = packed(random_sequences(tiny_encoder(), [24, 5, 17, 9] * 10, seed=8))
    results = {session.run(ids, offsets, types)[0].tobytes() for _ in range(100)}
    assert len(results) == 1


def test_outputs_per_token_find_their_places_in_any_order() -> None:
    """Texts are run longest first, and each writes its own rows of every kind of output."""
    program, tensors = tiny_program(0)
    written = [buffer for node in program.nodes for buffer in node.outputs]
    stream = [buffer for buffer in written if program.buffers[buffer].rows == "tokens"][-1]
    program = program._replace(outputs=(*program.outputs, Output("tokens", stream, 1.0)))
    model = _runtime.Model(program.to_dict(), tensors)
    ids, offsets, types = packed(random_sequences(tiny_encoder(), [3, 24, 1, 17, 24, 5, 9, 24] * 5))
    expected = [values.tobytes() for values in _runtime.Session(model, 1).run(ids, offsets, types)]
    for threads in (2, 5):
        found = _runtime.Session(model, threads, "texts").run(ids, offsets, types)
        assert [values.tobytes() for values in found] == expected


def test_an_unknown_way_to_share_is_refused() -> None:
    program, tensors = tiny_program(0)
    with pytest.raises(ModelError, match="parallel is 'words'; give 'rows' or 'texts'"):
        _runtime.Session(_runtime.Model(program.to_dict(), tensors), 2, "words")


def test_a_forked_child_makes_its_own_sessions() -> None:
    program, tensors = tiny_program(0)
    model = _runtime.Model(program.to_dict(), tensors)
    batch = packed(random_sequences(tiny_encoder(), [24] * 12))
    parent = _runtime.Session(model, 2)
    expected = parent.run(*batch)[0].tobytes()
    child = os.fork()
    if child == 0:
        own = _runtime.Session(model, 2).run(*batch)[0].tobytes()
        inherited = parent.run(*batch)[0].tobytes()  # its threads are gone; the caller does all
        os._exit(0 if own == inherited == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert parent.run(*batch)[0].tobytes() == expected


@pytest.mark.parametrize("parallel", ["rows", "texts"])
def test_an_empty_batch_gives_empty_outputs(parallel: str) -> None:
    program, tensors = tiny_program(0)
    session = _runtime.Session(_runtime.Model(program.to_dict(), tensors), 2, parallel)
    (values,) = session.run(np.zeros(0, np.int32), np.zeros(1, np.int32))
    assert values.shape == (0, 32)


def test_missing_types_are_zeros() -> None:
    program, tensors = tiny_program(0)
    session = _runtime.Session(_runtime.Model(program.to_dict(), tensors), 1)
    ids, offsets, types = packed(random_sequences(tiny_encoder(), [5, 3]))
    (implied,) = session.run(ids, offsets)
    (stated,) = session.run(ids, offsets, np.zeros_like(types))
    (other,) = session.run(ids, offsets, np.ones_like(types))
    assert implied.tobytes() == stated.tobytes() != other.tobytes()


def test_sessions_on_many_threads_and_one_session_on_many_threads_agree() -> None:
    program, tensors = tiny_program(3)
    model = _runtime.Model(program.to_dict(), tensors)
    batches = [packed(random_sequences(tiny_encoder("bert", 3), [1 + i % 20, 7], seed=i)) for i in range(40)]
    shared = _runtime.Session(model, 2)
    expected = [shared.run(*batch)[0].tobytes() for batch in batches]
    failures: list[int] = []

    def work(session: _runtime.Session) -> None:
        for i, batch in enumerate(batches):
            if session.run(*batch)[0].tobytes() != expected[i]:
                failures.append(i)

    sessions = [shared, shared, _runtime.Session(model, 1), _runtime.Session(model, 2)]
    threads = [threading.Thread(target=work, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_working_memory_is_allocated_once() -> None:
    program, tensors = tiny_program(0)
    session = _runtime.Session(_runtime.Model(program.to_dict(), tensors), 2)
    encoder = tiny_encoder()
    workloads = [packed(random_sequences(encoder, lengths)) for lengths in ([24] * 42, [1], [3, 24, 7] * 30)]
    for workload in workloads:
        session.run(*workload)
    warm = session.arena_bytes
    assert warm > 0
    for workload in workloads * 2:
        session.run(*workload)
        assert session.arena_bytes == warm
