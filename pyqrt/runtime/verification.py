"""Checks that take long, done by threads beside whatever their caller does meanwhile."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from pyqrt.errors import ModelError


class Verification:
    """A list of checks, each done once; a check raises ModelError or returns.

    There is no lock that a fork could inherit locked: what is done stands in a dict, and `wait`
    does itself what nobody has done, be it that no thread could start or that the threads stayed
    behind in the parent process.
    """

    def __init__(self, checks: Sequence[Callable[[], None]]) -> None:
        """The checks in the order in which to begin them: the longest first uses threads best."""
        self._checks = checks
        self._waiting = deque(range(len(checks)))
        self._problems: dict[int, str | None] = {}  # by number of the check; None: it passed
        self._threads: list[threading.Thread] = []

    def start(self, threads: int) -> None:
        """Begin, with at most this many threads."""
        for _ in range(min(threads, len(self._waiting))):
            # No daemon: at its end the interpreter waits the moment that the checks still take.
            thread = threading.Thread(target=self._work, name="pyqrt-verify", daemon=False)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads for us
                break
            self._threads.append(thread)

    def wait(self) -> None:
        """Return when all checks have passed; raise the first one's ModelError if any failed."""
        if len(self._problems) < len(self._checks):
            self._work()
            for thread in self._threads:
                thread.join()
            for number in range(len(self._checks)):
                if number not in self._problems:
                    self._perform(number)
        for number in range(len(self._checks)):
            problem = self._problems[number]
            if problem is not None:
                raise ModelError(problem)

    def _work(self) -> None:
        while True:
            try:
                number = self._waiting.popleft()
            except IndexError:
                return
            self._perform(number)

    def _perform(self, number: int) -> None:
        problem = None
        try:
            self._checks[number]()
        except ModelError as error:
            problem = str(error)
        self._problems[number] = problem
