"""Processes that call a user's slow function, one object at a time, and may be killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from traceback import format_exc
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np

StringFunction = Callable[[list[str]], Any]
"""A list of n strings → log R, (n,)."""

EXIT_SECONDS = 5.0  # for a process that has closed its connection to end and leave its exit code


@dataclass(frozen=True)
class Failure:
    """Why an object has no reward.

    Attributes:
        kind: "error", "timeout", "died" (its process did) or "not finite".
        reason: in words.
        traceback: of the exception, or "".
    """

    kind: str
    reason: str
    traceback: str = ""


def attempt(
    function: StringFunction, strings: list[str], objects: str = "strings"
) -> list[float | Failure]:
    """Call the function on n strings; one exception is the failure of all of them.

    Args:
        function: to call.
        strings: its argument.
        objects: what they are, for the message.

    Raises:
        ValueError: it returned something else than n numbers, which no object is to blame for.
    """
    try:
        returned = function(strings)
    except Exception as error:  # whatever a docking program or a web service may raise
        reason = f"{type(error).__name__}: {error}"
        return [Failure("error", reason, format_exc())] * len(strings)
    try:
        values = np.asarray(returned, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (len(strings),):
        raise ValueError(
            f"the reward function returned {returned!r} for {len(strings)} {objects}; it must "
            f"return log R, {len(strings)} numbers"
        )
    return [
        value if np.isfinite(value) else Failure("not finite", f"the reward function gave {value}")
        for value in values.tolist()
    ]


class Workers:
    """Up to n processes, started when they are first needed.

    A worker that is late is killed, with the programs that it has started, and replaced; so is
    one that died. Workers end with this object or this process, whichever ends first. They serve
    one caller at a time, in the process that made them: see :attr:`mine`.

    Args:
        function: what they call, with a list of one string.
        n: how many.
        timeout: seconds for an object, or None; starting a process is not counted.
        objects: what the strings are, for messages.
    """

    def __init__(
        self, function: StringFunction, n: int, timeout: float | None, objects: str = "strings"
    ):
        self.n, self.timeout = n, timeout
        self._start = cloudpickle.dumps((function, objects))
        self._workers: list[_Worker] = []
        self._process = os.getpid()
        weakref.finalize(self, _close, self._workers, self._process)

    def __call__(self, strings: Sequence[str]) -> list[float | Failure]:
        """Return the reward or the failure of each string, in their order.

        Raises:
            RuntimeError: a process could not start.
            ValueError: the function returned something else than a number.
        """
        outcomes: dict[int, float | Failure] = {}
        waiting = deque(enumerate(strings))
        try:
            while len(outcomes) < len(strings):
                self._assign(waiting)
                for worker in self._answering():
                    answer = worker.receive()
                    if worker.index is not None and answer is not None:
                        outcomes[worker.index], worker.index = answer, None
                    if not worker.alive:
                        self._workers.remove(worker)
        except BaseException:
            self.close()  # what is still on its way would be taken for the next answer
            raise
        return [outcomes[index] for index in range(len(strings))]

    @property
    def mine(self) -> bool:
        """Whether this process made them; a fork of it shares their connections, and must not."""
        return self._process == os.getpid()

    def close(self) -> None:
        """Kill the workers; new ones start when needed."""
        _close(self._workers, self._process)

    def _assign(self, waiting: deque[tuple[int, str]]) -> None:
        idle = [worker for worker in self._workers if worker.index is None]
        for worker in [w for w in idle if w.ready and not w.process.is_alive()]:
            worker.kill()  # it died while it had nothing to do: no object is to blame
            self._workers.remove(worker)
            idle.remove(worker)
        for _ in range(min(self.n - len(self._workers), len(waiting) - len(idle))):
            self._workers.append(_Worker(self._start))
        for worker in idle:
            if worker.ready and waiting:
                worker.send(*waiting.popleft(), self.timeout)

    def _answering(self) -> list[_Worker]:
        """Wait until some workers have answered, died or run late."""
        deadline = min((worker.deadline for worker in self._workers), default=np.inf)
        left = None if deadline == np.inf else max(deadline - time.monotonic(), 0)
        ready = wait([worker.connection for worker in self._workers], left)
        now = time.monotonic()
        return [w for w in self._workers if w.connection in ready or w.deadline <= now]


class _Worker:
    def __init__(self, start: bytes):
        context = multiprocessing.get_context("spawn")  # a fork of torch's threads may hang
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, start), daemon=True)
        self.process.start()
        theirs.close()
        self.ready, self.alive = False, True
        self.index: int | None = None  # of the string that it works at
        self.deadline = np.inf

    def send(self, index: int, string: str, timeout: float | None) -> None:
        self.index = index
        self.deadline = np.inf if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        with contextlib.suppress(OSError):  # it has died: receive() will tell
            self.connection.send(string)

    def receive(self) -> float | Failure | None:
        """The answer, if there is one; kills the worker when it is late."""
        if not self.connection.poll():
            self.kill()
            return Failure("timeout", f"no answer within {self._timeout} s")
        self.deadline = np.inf
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            # The connection closes before the process has ended: a kill would hide its exit code.
            wait([self.process.sentinel], EXIT_SECONDS)
            self.kill()
            if not self.ready:
                raise RuntimeError(
                    "a process for the reward function could not start, its output says why; a "
                    "script must do its work under if __name__ == '__main__':"
                ) from None
            return Failure("died", f"its process died with exit code {self.process.exitcode}")
        if isinstance(answer, Exception):
            raise answer
        self.ready = True
        return answer

    def kill(self) -> None:
        self.alive = False
        self.deadline = np.inf
        if hasattr(os, "killpg") and self.process.pid is not None:
            with contextlib.suppress(OSError):  # the programs that it has started, too
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.connection.close()


def _close(workers: list[_Worker], process: int) -> None:
    if process != os.getpid():  # a fork's copy: the workers go on for the process that made them
        workers.clear()
    while workers:
        workers.pop().kill()


def _serve(connection: Connection[Any, Any], start: bytes) -> None:
    """What a worker does: it answers None when it has started, then one string after another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    if hasattr(os, "setsid"):
        os.setsid()  # a group of its own, to be killed as one
    function, objects = cloudpickle.loads(start)
    connection.send(None)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent has ended
        while True:
            string = connection.recv()
            try:
                connection.send(attempt(function, [string], objects)[0])
            except ValueError as error:
                connection.send(error)
