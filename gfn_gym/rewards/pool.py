"""Workers that call a slow function, one object at a time, wherever they are."""

from __future__ import annotations

import os
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from traceback import format_exc
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

StringFunction = Callable[[list[str]], Any]
"""A list of n strings → log R, (n,)."""


@dataclass(frozen=True)
class Failure:
    """Why an object has no reward.

    Attributes:
        kind: "error", "timeout", "died" (its process did, or its node) or "not finite".
        reason: in words.
        traceback: of the exception, or "".
    """

    kind: str
    reason: str
    traceback: str = ""

    @property
    def may_pass(self) -> bool:
        """Whether another worker may do better: it hung or died, and did not answer."""
        return self.kind in ("timeout", "died")


Outcome = float | Failure


def attempt(
    function: StringFunction, strings: list[str], objects: str = "strings"
) -> list[Outcome]:
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


class Worker(Protocol):
    """One that works at one string at a time.

    Attributes:
        ready: it has started.
        alive: it can be sent another string.
        string: what it works at, or None.
        deadline: when it is late, by the monotonic clock; infinite while it is not at work.
    """

    ready: bool
    alive: bool
    string: str | None
    deadline: float

    def send(self, string: str) -> None:
        """Have it work at a string."""

    def receive(self) -> Outcome | None:
        """What it says: None when it has just started. Kills it when it is late.

        Raises:
            RuntimeError: it could not start.
            ValueError: the function returned something else than a number.
        """

    def kill(self) -> None:
        """End it, with what it works at."""


AnyWorker = TypeVar("AnyWorker", bound=Worker)


class Workers(ABC, Generic[AnyWorker]):
    """Up to n workers, started when they are first needed; results as they arrive.

    A worker that is late is killed and replaced; so is one that died. What it was working at is
    repeated by another, up to ``retries`` times. No string is worked at twice at a time. Workers
    end with this object or this process, whichever ends first. They serve one caller at a time, in
    the process that made them: see :attr:`mine`.

    Args:
        n: how many.
        retries: how often a call that hung or died is repeated.

    Attributes:
        repeated: how many calls were.
    """

    def __init__(self, n: int, retries: int = 0):
        self.n, self.retries, self.repeated = n, retries, 0
        self._waiting: deque[str] = deque()
        self._asked: dict[str, int] = {}  # what has no answer yet, and how often it was repeated
        self._arrived: dict[str, Outcome] = {}
        self._workers: list[AnyWorker] = []
        self._process = os.getpid()
        weakref.finalize(self, _close, self._workers, self._process)

    @abstractmethod
    def _start(self) -> AnyWorker:
        """Start a worker."""

    @abstractmethod
    def _with_news(self, timeout: float | None) -> list[AnyWorker]:
        """Wait until a worker has started, answered or died; return those that have."""

    def _died_idle(self, worker: AnyWorker) -> bool:
        """Whether a worker with nothing to do has died, where that can be seen."""
        return False

    # ---- asking -------------------------------------------------------------------------------

    def ask(self, strings: Sequence[str]) -> None:
        """Have strings worked at; those that are already under way are so once."""
        for string in strings:
            if string not in self._asked and string not in self._arrived:
                self._asked[string] = 0
                self._waiting.append(string)
        self._assign()

    def answers(self, wait: float | None = None) -> dict[str, Outcome]:
        """Return the rewards and failures that have arrived since the last call.

        Args:
            wait: seconds to wait for the first if there is none yet; None: as long as it takes.

        Raises:
            RuntimeError: a worker could not start.
            ValueError: the function returned something else than a number. After either, nothing
                is under way any more.
        """
        until = np.inf if wait is None else time.monotonic() + wait
        try:
            while True:
                self._assign()
                for worker in self._answering(until):
                    self._hear(worker)
                if self._arrived or not self._asked or time.monotonic() >= until:
                    break
        except BaseException:
            self.close()  # what is still on its way would be taken for another answer
            raise
        self._assign()
        arrived, self._arrived = self._arrived, {}
        return arrived

    @property
    def in_flight(self) -> int:
        """How many strings are asked for and have no answer yet."""
        return len(self._asked)

    @property
    def mine(self) -> bool:
        """Whether this process made them; a fork of it shares their connections, and must not."""
        return self._process == os.getpid()

    def close(self) -> None:
        """Kill the workers and forget what was asked; new ones start when needed."""
        _close(self._workers, self._process)
        self._waiting.clear()
        self._asked.clear()

    # ---- at work ------------------------------------------------------------------------------

    def _assign(self) -> None:
        idle = [worker for worker in self._workers if worker.string is None]
        for worker in [w for w in idle if w.ready and self._died_idle(w)]:
            worker.kill()  # no object is to blame
            self._workers.remove(worker)
            idle.remove(worker)
        for _ in range(min(self.n - len(self._workers), len(self._waiting) - len(idle))):
            self._workers.append(self._start())
        for worker in idle:
            if worker.ready and self._waiting:
                worker.send(self._waiting.popleft())

    def _answering(self, until: float) -> list[AnyWorker]:
        """Wait until some workers have answered, died or run late, or until it is time."""
        deadline = min((worker.deadline for worker in self._workers), default=np.inf)
        deadline = -np.inf if self._arrived else min(deadline, until)
        left = None if deadline == np.inf else max(deadline - time.monotonic(), 0)
        news = self._with_news(left) if self._asked else []
        now = time.monotonic()
        return [w for w in self._workers if w in news or w.deadline <= now]

    def _hear(self, worker: AnyWorker) -> None:
        answer = worker.receive()
        if worker.string is not None and answer is not None:
            string, worker.string = worker.string, None
            again = isinstance(answer, Failure) and answer.may_pass
            if again and self._asked[string] < self.retries:
                self._asked[string] += 1
                self.repeated += 1
                self._waiting.appendleft(string)
            else:
                del self._asked[string]
                self._arrived[string] = answer
        if not worker.alive:
            self._workers.remove(worker)


def _close(workers: list[Any], process: int) -> None:
    if process != os.getpid():  # a fork's copy: the workers go on for the process that made them
        workers.clear()
    while workers:
        workers.pop().kill()
