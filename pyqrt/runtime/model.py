"""A model file, loaded: texts in, results out; or token ids in, exact integers out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pyqrt import _runtime
from pyqrt._masked import refuse_masks
from pyqrt.errors import ModelError
from pyqrt.program import Limits, Program
from pyqrt.runtime import format as model_format
from pyqrt.runtime.devices import Parallel, find_device
from pyqrt.runtime.tasks import Task
from pyqrt.runtime.verification import Verification

if TYPE_CHECKING:
    import numpy.typing as npt

    from pyqrt.runtime.results import Integers, Result
    from pyqrt.runtime.tokenization import Tokenizer

MAX_BATCH_TOKENS = (1 << 31) - 1  # offsets are int32


class IntegerOutput(NamedTuple):
    """Exact integers of one program output; real value = integer * `scale`.

    `values`: [sequences, width], or for an output with a row per token a list of [tokens, width].
    """

    values: Integers | list[Integers]
    scale: float


def load(
    path: str | os.PathLike[str],
    *,
    device: str = "cpu",
    threads: int | None = None,
    parallel: Parallel = "rows",
    isa: str | None = None,
    verify: bool = True,
) -> Model:
    """Load a model file made by `pyqrt quantize`.

    device: "cpu"; "cuda" or "cuda:N", a GPU of compute capability 7.5 or later. Results are equal on all.
    threads: of the CPU, for each call, up to 1024; None: the CPUs this process may use, by affinity and
        cgroup quota.
    parallel: what the CPU's threads share out in a call. "rows": each text, so that one text uses them
        all. "texts": whole texts; each is run by one thread alone, waiting for no other. Results are equal.
    isa: the CPU's instruction set, one that `pyqrt doctor` lists as supported; None: that of the environment
        variable PYQRT_FORCE_ISA, else the best supported one. Results are equal on all.
    verify: check the bytes of weights, embedding tables and tokenizer too. That reads all of the file,
        so threads do it while `load` returns; the first run waits for them, and raises ModelError if the
        file is damaged. Without it pages are read when used, and a damaged weight gives a wrong result,
        not an error. All else is checked before `load` returns, with or without it.

    The file stays mapped: replace it by renaming a new one over it, never by writing into it.
    Raises ModelError if the file is not a sound model, an argument is out of range, or the device is
    not there.
    """
    return Model(
        model_format.read(path), device=device, threads=threads, parallel=parallel, isa=isa, verify=verify
    )


class Model:
    """A loaded model. All methods may be called from many threads at once.

    Every call in progress uses a session of its own: working memory, and `threads` threads.
    Servers that call from many threads do best with `threads=1`.
    """

    def __init__(
        self,
        file: model_format.ModelFile,
        *,
        device: str = "cpu",
        threads: int | None = None,
        parallel: Parallel = "rows",
        isa: str | None = None,
        verify: bool = True,
    ) -> None:
        """Check and prepare `file`; arguments and errors as for `load`."""
        self._file = file
        self._device = find_device(device, threads=threads, parallel=parallel, isa=isa)
        try:
            self._native = self._device.new_model(file.program.to_dict(), file.tensors)
        except ModelError as error:
            raise ModelError(f"{file.path}: {error}") from None
        self._idle: deque[tuple[int, Any]] = deque(maxlen=_runtime.available_cpus())
        self._tokenizer: Tokenizer | None = None
        session = self._device.new_session(self._native)  # too many threads show here
        self._idle.append((os.getpid(), session))
        self._verification = _weight_checks(file, self._native)
        self._verifies = verify
        if verify:
            # The first run takes part itself.
            threads = session.threads if self._device.is_cpu else _runtime.available_cpus()
            self._verification.start(max(1, threads - 1))

    def __call__(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        truncate: bool = False,
        stride: int | None = None,
    ) -> Result:
        """The task's result for each text, in order; one text is a batch of one.

        embedding: float32 [texts, width]. sequence_classification: list of `Classification`.
        token_classification: for each text a list of `Word`. question_answering: list of `Answer`,
        `texts` being questions and `pairs` contexts. masked_lm: for each text a list of `Mask`.
        multiple_choice: list of `Choice`, `pairs` being for each text the list of its choices.

        pairs: the second text of each, for tasks on pairs.
        truncate: cut texts longer than the model takes, instead of raising. Question answering cuts
            nothing off: it sees a long context in windows that share `stride` tokens; None: 128, or a
            quarter of what the model takes if that is less.
        Results do not depend on what else is in the batch. Raises ModelError for a text that is too
        long, a missing or needless pair, a model file without tokenizer.
        """
        from pyqrt.runtime.texts import decode_outputs, encode_texts  # token ids run without it

        texts = _listed(texts, "texts")
        pairs = None if pairs is None else _listed(pairs, "pairs")
        tokenizer = self.tokenizer
        if tokenizer is None:
            raise ModelError("the model file has no tokenizer; feed token ids to Model.run")
        groups = encode_texts(self.task, tokenizer, texts, pairs, truncate=truncate, stride=stride)
        encoded = [item for group in groups for item in group]
        types = [item.types for item in encoded] if self.limits.type_vocab_size > 1 else None
        values, scale = self.run([item.ids for item in encoded], types)
        return decode_outputs(self.task, tokenizer, values, scale, texts, pairs, groups)

    def run(
        self,
        sequences: Sequence[npt.ArrayLike],
        types: Sequence[npt.ArrayLike] | None = None,
        *,
        output: str | None = None,
    ) -> IntegerOutput:
        """Run token ids through the integer program.

        sequences: one-dimensional integers, each of its own length; no padding, no mask.
        types: token types, shaped like `sequences`; None: all 0.
        output: name of the program's output; None: the task's.

        A batch may be of any size: it runs in passes of a bounded number of tokens, which changes
        no bit of the result. Raises ModelError naming the sequence, the value and the limit for
        empty or too long sequences, for masked arrays and for ids or types out of range, and where
        working memory or outputs find no memory.
        """
        names = [item.name for item in self.program.outputs]
        name = self.task.output if output is None else output
        if name not in names:
            raise ModelError(f"the program has no output {name!r}; it has {', '.join(names)}")
        index = names.index(name)
        ids, lengths = _pack(sequences, "sequence", "token id", self.limits.vocab_size)
        packed_types = None
        if types is not None:
            packed_types, type_lengths = _pack(types, "types", "token type", self.limits.type_vocab_size)
            if type_lengths != lengths:
                raise ModelError("types must have the same lengths as the sequences")
        for number, length in enumerate(lengths):
            if not 1 <= length <= self.limits.max_length:
                raise ModelError(
                    f"sequence {number} has {length} tokens; the model takes 1 to {self.limits.max_length}"
                )
        if ids.size > MAX_BATCH_TOKENS:
            raise ModelError(f"the batch has {ids.size} tokens, the limit is {MAX_BATCH_TOKENS}; split it")
        offsets = np.zeros(len(lengths) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        values = self._run_packed(ids, offsets, packed_types)[index]
        if self.program.buffers[self.program.outputs[index].buffer].rows == "tokens":
            rows = [values[begin:end] for begin, end in pairwise(offsets)]
            return IntegerOutput(rows, self.program.outputs[index].scale)
        return IntegerOutput(values, self.program.outputs[index].scale)

    def verify(self) -> None:
        """Return when weights, embedding tables and tokenizer have been checked: digests and ranges.

        Raises ModelError if the file is damaged. Needed only to know it before the first run, or
        after `verify=False`.
        """
        self._verification.wait()

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The file's tokenizer, or None. Raises ModelError if it is damaged or malformed."""
        from pyqrt.runtime.tokenization import Tokenizer  # token ids run without it

        # No lock that a fork could inherit locked: threads that come at once make one each.
        if self._tokenizer is None:
            try:
                text = self._file.tokenizer
            except ModelError as error:
                raise ModelError(f"{self._file.path}: {error}") from None
            self._tokenizer = None if text is None else Tokenizer(text, self.limits.max_length)
        return self._tokenizer

    @property
    def task(self) -> Task:
        """What the model is for: its kind, output and labels."""
        return self._file.task

    @property
    def program(self) -> Program:
        """The integer program."""
        return self._file.program

    @property
    def limits(self) -> Limits:
        """Vocabulary size, longest sequence, number of token types."""
        return self._file.program.limits

    @property
    def scale(self) -> float:
        """Real value of one unit of the task's output."""
        return next(item.scale for item in self.program.outputs if item.name == self.task.output)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the model comes from, as its file says."""
        return self._file.provenance

    @property
    def report(self) -> dict[str, Any]:
        """The accuracy report of its quantization, as its file says."""
        return self._file.report

    def describe(self) -> dict[str, Any]:
        """The loaded model in plain data: file, task, limits, nodes with kernel and bit budget, memory."""
        return {
            "path": self._file.path,
            "file_bytes": self._file.file_bytes,
            "header_digest": self._file.header_digest,
            "task": self.task.to_dict(),
            "limits": self.limits._asdict(),
            "outputs": [
                {**item._asdict(), **self.program.buffers[item.buffer]._asdict()}
                for item in self.program.outputs
            ],
            "tokenizer": self._file.text is not None,
            **self._device.describe(self._native),
            "provenance": self.provenance,
            "report": self.report,
        }

    def _run_packed(self, ids: Any, offsets: Any, types: Any) -> list[Any]:
        # A deque's append and pop are atomic: no lock that a fork could inherit locked. A session of
        # the parent process has no threads in the child, so the child makes its own.
        pid = os.getpid()
        try:
            owner, session = self._idle.pop()
            if owner != pid:
                session = self._device.new_session(self._native)
        except IndexError:
            session = self._device.new_session(self._native)
        outputs: list[Any] = session.run(ids, offsets, types)
        self._idle.append((pid, session))
        # Beside the first run weights are still being checked: no address depends on their values, and
        # nobody sees its outputs before they have passed.
        if self._verifies:
            self._verification.wait()
        return outputs


def _weight_checks(file: model_format.ModelFile, native: Any) -> Verification:
    """What reads all of the file: the digests that reading left out, and the ranges of all weights."""

    def check(verify: Callable[[], None]) -> None:
        try:
            verify()
        except ModelError as error:
            raise ModelError(f"{file.path}: {error}") from None

    digests = [partial(check, partial(file.check_digest, name)) for name in file.unchecked]
    return Verification([*digests, partial(check, native.verify)])


def _listed(values: Any, what: str, wanted: str = "a string or a list of strings") -> list[Any]:
    """A string as a list of one, all else as a list of what it holds."""
    if isinstance(values, str):
        return [values]
    try:
        return list(values)
    except TypeError:
        raise ModelError(f"{what} is of type {type(values).__name__}; give {wanted}") from None


def _pack(
    sequences: Sequence[npt.ArrayLike], noun: str, what: str, limit: int
) -> tuple[npt.NDArray[np.int32], list[int]]:
    """All sequences in one int32 array, and their lengths; values are in [0, limit)."""
    arrays = []
    batch = _listed(sequences, f"the batch of {what}s", "a list with those of each sequence")
    for index, sequence in enumerate(batch):
        refuse_masks(f"{noun} {index}", sequence)
        try:
            array = np.asarray(sequence)
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"{noun} {index} is no array: {error}") from None
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ModelError(
                f"{noun} {index} has type {array.dtype} and {array.ndim} dimensions; "
                "it must be a one-dimensional array or list of integers"
            )
        if array.size and (array.min() < 0 or array.max() >= limit):
            position = int(np.flatnonzero((array < 0) | (array >= limit))[0])
            raise ModelError(
                f"{noun} {index} has {what} {array[position]} at position {position}; "
                f"the model has 0 to {limit - 1}"
            )
        arrays.append(array.astype(np.int32))
    packed = np.concatenate(arrays) if arrays else np.zeros(0, np.int32)
    return packed, [array.size for array in arrays]
