"""Users' own rewards of objects that have names: slow, and for some objects failing."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from gfn_gym.arguments import choice, is_finite, number, whole
from gfn_gym.dag import DAG, Floats
from gfn_gym.rewards.cache import CACHE_SIZE, Cache
from gfn_gym.rewards.journal import Journal
from gfn_gym.rewards.pool import Failure, Outcome, StringFunction, Workers, attempt
from gfn_gym.rewards.processes import ProcessWorkers
from gfn_gym.rewards.ray_workers import RayPool, RayWorkers

logger = logging.getLogger(__name__)


class RewardError(RuntimeError):
    """A reward function failed at an object; what was learnt until then is untouched."""


class StringReward:
    """A function of a list of strings to log R, for ``reward=``, called once per string.

    An object fails where the function raises, runs late, kills its process, or returns NaN or an
    infinity (where R = 0, return a small floor). Rewards are cached by string, the floors of
    failed objects as well: log R stays a function of the object. Where
    there are workers, a checkpoint of a training holds the cache, without those floors; a model
    does not. So after ``load`` or ``resume`` failed objects are tried again, as they are after
    :meth:`forget_failures`. Threads take turns.

    Args:
        function: list of n strings → log R, n numbers. Without workers it gets all unknown
            objects of a step at once, and when it raises, each on its own again; with workers
            each on its own.
        on_failure: "raise" a :class:`RewardError` that names the objects, after the others of
            the batch have been rewarded and cached; or give them the "floor" and go on: they are
            logged as warnings and kept in ``failed``.
        floor: log R of failed objects, for ``on_failure="floor"``.
        timeout: seconds for an object, or None; with it the function runs in a process that can
            be killed, so ``workers`` is then at least 1.
        workers: processes to run it in, in parallel; 0 is this process. They are spawned: a
            script that uses them must do its work under ``if __name__ == "__main__":``. Or
            :class:`RayWorkers`, to run it on a cluster.
        cache_size: objects; the one that was asked for longest ago is dropped first.
        journal: a file to which each reward is appended when it arrives, and from which known ones
            are taken at the start: not even a kill of this process loses one, and another training
            with the same function begins with them; another function needs another file. Failures
            are not written.

    Attributes:
        failed: dict string → :class:`Failure` (kind, reason), of the objects that failed when
            they were last tried.
        failures: Counter of their kinds: "error", "timeout", "died", "not finite".
        calls: how many objects the function was asked for, failed ones included: what a
            laboratory pays for, with ``repeated`` calls, whose worker hung or died.
    """

    objects: ClassVar[str] = "strings"  # what the function gets, for messages
    things: ClassVar[str] = "objects"  # what they name
    journal: Journal | None = None
    _repeated_before = 0  # by pools of processes before this one

    def __init__(
        self,
        function: StringFunction,
        on_failure: str = "raise",
        floor: float | None = None,
        timeout: float | None = None,
        workers: int | RayWorkers = 0,
        cache_size: int = CACHE_SIZE,
        journal: str | os.PathLike[str] | None = None,
    ):
        if not callable(function):
            raise TypeError(f"function={function!r} must be a function of a list of {self.objects}")
        choice("on_failure", on_failure, ("raise", "floor"))
        if on_failure == "floor" and not is_finite(floor):
            raise ValueError(f"floor={floor!r} must be the finite log R of {self.things} that fail")
        if on_failure == "raise" and floor is not None:
            raise ValueError(f"floor={floor!r} has no effect with on_failure='raise'")
        self.function, self.on_failure, self.floor = function, on_failure, floor
        self.timeout = None if timeout is None else number("timeout", timeout, above=0)
        if not isinstance(workers, RayWorkers):
            workers = max(whole("workers", workers, least=0), int(timeout is not None))
        self.workers = workers
        if journal is not None:
            self.journal = Journal(journal)
        self.failed: dict[str, Failure] = {}
        self.calls = 0
        self._cache: Cache[str] = Cache(cache_size)
        self._forget_process()

    def _forget_process(self) -> None:
        """Begin with what belongs to this process and is not saved."""
        self._pool: Workers[Any] | None = None
        self._lock = threading.RLock()
        self._deferring = False
        self._journal_read = False
        self._answered: deque[float] = deque(maxlen=1000)  # when the latest answers came

    def __call__(self, strings: Sequence[str]) -> Floats:
        """Return log R of n strings, float64 (n,).

        Raises:
            RewardError: some failed, and ``on_failure`` is "raise".
            ValueError: the function returned something else than one number a string.
        """
        with self._lock:  # the workers' answers and the cache are of one caller at a time
            self._read_journal()
            if self._deferring:
                return self._so_far(strings)
            return self._cache.values_of(
                strings, lambda rows: self._ask([strings[i] for i in rows])
            )

    def _read_journal(self) -> None:
        """Once a process: know what the journal knows."""
        if self.journal is not None and not self._journal_read:
            self.journal.check()  # before anything is computed that could not be written
            for string, value in self.journal.read():
                self._cache.put(string, value)
                self.failed.pop(string, None)  # another training had better luck
            self._journal_read = True

    @property
    def failures(self) -> Counter[str]:
        """How many objects failed, by kind."""
        with self._lock:
            return Counter(failure.kind for failure in self.failed.values())

    def forget_failures(self) -> None:
        """Have failed objects tried again when they are next met."""
        with self._lock:
            for string in self.failed:
                self._cache.forget(string)
            self.failed.clear()

    def close(self) -> None:
        """Kill the worker processes; new ones start when needed."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()

    @property
    def cache_size(self) -> int:
        """How many rewards are remembered."""
        return self._cache.size

    # ---- while others are computed ------------------------------------------------------------

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Within it, whatever asks for rewards waits for none: unknown ones are NaN.

        They are computed meanwhile; :meth:`receive` takes what has arrived, after which asking
        again finds it. Without workers there is nothing to wait for, and no NaN.
        """
        with self._lock:
            self._deferring = bool(self.workers)
            try:
                yield
            finally:
                self._deferring = False

    def receive(self, wait: float | None = 0.0) -> int:
        """Take the rewards that have arrived; return how many.

        Args:
            wait: seconds to wait for one if none is there yet; None: as long as it takes.

        Raises:
            RewardError, ValueError: as for a call.
        """
        with self._lock:
            if not self.in_flight:
                return 0
            arrived = self._workers_pool().answers(wait)
            self._raise(self._take(arrived))
            return len(arrived)

    def _so_far(self, strings: Sequence[str]) -> Floats:
        """log R of n strings, NaN where it is not known yet but asked for; float64 (n,)."""
        unknown = [string for string in dict.fromkeys(strings) if string not in self._cache]
        pool = self._workers_pool()
        before = pool.in_flight
        pool.ask(unknown)
        self.calls += pool.in_flight - before
        known = [string for string in strings if string in self._cache]
        values = dict(zip(known, self._cache.values_of(known, _nothing), strict=True))
        return np.array([values.get(string, np.nan) for string in strings], dtype=np.float64)

    @property
    def in_flight(self) -> int:
        """How many objects are asked for and have no answer yet."""
        return 0 if self._pool is None else self._pool.in_flight

    @property
    def repeated(self) -> int:
        """How many calls were repeated since their worker hung or died."""
        return self._repeated_before + (0 if self._pool is None else self._pool.repeated)

    def progress(self) -> dict[str, float]:
        """Numbers for a log.

        ``calls`` are those asked for, of which ``done`` have an answer and ``in_flight`` have
        none yet; ``repeated``, ``failures``, and ``calls_per_second`` of late.
        """
        with self._lock:
            seconds = time.monotonic() - self._answered[0] if self._answered else 0.0
            return {
                "calls": self.calls,
                "done": self.calls - self.in_flight,
                "in_flight": self.in_flight,
                "repeated": self.repeated,
                "failures": len(self.failed),
                "calls_per_second": (len(self._answered) - 1) / seconds if seconds else 0.0,
            }

    # ---- calling ------------------------------------------------------------------------------

    def _ask(self, strings: list[str]) -> Floats:
        """log R of n distinct strings that are not in the cache, float64 (n,)."""
        if not self.workers:
            self.calls += len(strings)
            outcomes = self._call_here(strings)
            failed = self._take(outcomes)
        else:
            outcomes, failed = self._wait_for(strings)
        self._raise(failed)
        return np.array([self._value(outcomes[name]) for name in strings], dtype=np.float64)

    def _wait_for(self, strings: list[str]) -> tuple[dict[str, Outcome], dict[str, Failure]]:
        """Outcomes by string, and which are failures; others that arrive meanwhile are kept."""
        pool = self._workers_pool()
        before = pool.in_flight
        pool.ask(strings)
        self.calls += pool.in_flight - before
        outcomes: dict[str, Outcome] = {}
        failed: dict[str, Failure] = {}
        while not outcomes.keys() >= set(strings):
            arrived = pool.answers()
            failed |= self._take(arrived)
            outcomes |= arrived
        return outcomes, failed

    def _call_here(self, strings: list[str]) -> dict[str, Outcome]:
        outcomes = attempt(self.function, strings, self.objects)
        if len(strings) > 1 and all(_raised(outcome) for outcome in outcomes):
            outcomes = [attempt(self.function, [name], self.objects)[0] for name in strings]
        return dict(zip(strings, outcomes, strict=True))

    def _workers_pool(self) -> Workers[Any]:
        if self._pool is None or not self._pool.mine:
            if isinstance(self.workers, RayWorkers):
                self._pool = RayPool(self.workers, self.function, self.timeout, self.objects)
            else:
                self._pool = ProcessWorkers(self.function, self.workers, self.timeout, self.objects)
        return self._pool

    def _take(self, outcomes: Mapping[str, Outcome]) -> dict[str, Failure]:
        """Remember outcomes as they come, and return those that are failures."""
        self._answered.extend([time.monotonic()] * len(outcomes))
        failed = {name: o for name, o in outcomes.items() if isinstance(o, Failure)}
        known = {name: o for name, o in outcomes.items() if not isinstance(o, Failure)}
        if self.journal is not None and known:
            self.journal.write(known)
        self.failed = {n: f for n, f in self.failed.items() if n not in outcomes} | failed
        for name, outcome in outcomes.items():
            if self.floor is not None or name not in failed:
                self._cache.put(name, self._value(outcome))
        for name, failure in failed.items() if self.floor is not None else ():
            reason = f"{failure.kind}, {failure.reason}"
            logger.warning("no reward for %s: %s; log R = %g", name, reason, self.floor)
            logger.debug("%s", failure.traceback)
        return failed

    def _value(self, outcome: Outcome) -> float:
        if isinstance(outcome, Failure):
            assert self.floor is not None
            return self.floor
        return outcome

    def _raise(self, failed: Mapping[str, Failure]) -> None:
        if not failed or self.floor is not None:
            return
        (name, failure), *others = failed.items()
        more = f" (and {len(others)} others)" if others else ""
        raise RewardError(
            f"no reward for {name}: {failure.kind}, {failure.reason}{more}\n{failure.traceback}"
        )

    def _settings(self) -> tuple[Any, ...]:
        journal = None if self.journal is None else self.journal.path
        return self.function, self.on_failure, self.floor, self.timeout, self.workers, journal

    def __eq__(self, other: object) -> bool:
        """Made alike; environments of one VecEnv must be."""
        return type(self) is type(other) and self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash((type(self), self._settings()))

    # ---- checkpoints --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint of a training holds: the rewards that are known; not the failures."""
        with self._lock:
            known = [(name, v) for name, v in self._cache.items() if name not in self.failed]
            return {
                "strings": [name for name, _ in known],
                "log_reward": np.array([value for _, value in known], dtype=np.float64),
            }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave: these are not asked for again."""
        with self._lock:
            for name, value in zip(state["strings"], state["log_reward"].tolist(), strict=True):
                self._cache.put(name, value)

    def __getstate__(self) -> dict[str, Any]:
        # The cache leaves out its content; workers and lock are of this process.
        left_out = ("_pool", "_lock", "_deferring", "_answered", "_journal_read")
        state = {name: value for name, value in vars(self).items() if name not in left_out}
        counts = {"calls": self.calls - self.in_flight, "_repeated_before": self.repeated}
        return state | counts  # what is in flight is asked for again

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_process()


def slow_reward_of(dag: DAG) -> StringReward | None:
    """Return the reward with workers that a DAG holds, as an attribute or the ``function`` of one.

    None: it has none, and its rewards are computed where they are asked for.
    """
    return next((reward for reward in string_rewards_of(dag) if reward.workers), None)


def string_rewards_of(dag: DAG) -> list[StringReward]:
    """The rewards of strings that a DAG holds, as attributes or the ``function`` of one."""
    values = [(value, getattr(value, "function", None)) for value in vars(dag).values()]
    return [held for pair in values for held in pair if isinstance(held, StringReward)]


def _nothing(rows: list[int]) -> Floats:
    raise AssertionError("every string was known")


def _raised(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and outcome.kind == "error"
