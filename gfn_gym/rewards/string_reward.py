"""Users' own rewards of objects that have names: slow, and for some objects failing."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from gfn_gym.arguments import choice, is_finite, number, whole
from gfn_gym.dag import Floats
from gfn_gym.rewards.cache import CACHE_SIZE, Cache
from gfn_gym.rewards.processes import Failure, StringFunction, Workers, attempt

logger = logging.getLogger(__name__)


class RewardError(RuntimeError):
    """A reward function failed at an object; what was learnt until then is untouched."""


class StringReward:
    """A function of a list of strings to log R, for ``reward=``, called once per string.

    An object fails where the function raises, runs late, kills its process, or returns NaN or an
    infinity (where R = 0, return a small floor). Rewards are cached by string, the floors of
    failed objects as well: log R stays a function of the object. The cache is not saved with
    a model, so after ``load`` or ``resume`` failed objects are tried again, as they are after
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
            script that uses them must do its work under ``if __name__ == "__main__":``.
        cache_size: objects; the one that was asked for longest ago is dropped first.

    Attributes:
        failed: dict string → :class:`Failure` (kind, reason), of the objects that failed when
            they were last tried.
        failures: Counter of their kinds: "error", "timeout", "died", "not finite".
        calls: how many objects the function was asked for, failed ones included: what a
            laboratory pays for.
    """

    objects: ClassVar[str] = "strings"  # what the function gets, for messages
    things: ClassVar[str] = "objects"  # what they name

    def __init__(
        self,
        function: StringFunction,
        on_failure: str = "raise",
        floor: float | None = None,
        timeout: float | None = None,
        workers: int = 0,
        cache_size: int = CACHE_SIZE,
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
        self.workers = max(whole("workers", workers, least=0), timeout is not None)
        self.failed: dict[str, Failure] = {}
        self.calls = 0
        self._cache: Cache[str] = Cache(cache_size)
        self._pool: Workers | None = None
        self._lock = threading.RLock()

    def __call__(self, strings: Sequence[str]) -> Floats:
        """Return log R of n strings, float64 (n,).

        Raises:
            RewardError: some failed, and ``on_failure`` is "raise".
            ValueError: the function returned something else than one number a string.
        """
        with self._lock:  # the workers' answers and the cache are of one caller at a time
            return self._cache.values_of(
                strings, lambda rows: self._ask([strings[i] for i in rows])
            )

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

    def _ask(self, strings: list[str]) -> Floats:
        """log R of n distinct strings that are not in the cache, float64 (n,)."""
        self.calls += len(strings)
        outcomes = dict(zip(strings, self._evaluate(strings), strict=True))
        failed = {name: o for name, o in outcomes.items() if isinstance(o, Failure)}
        self.failed = {n: f for n, f in self.failed.items() if n not in outcomes} | failed
        values = {name: o for name, o in outcomes.items() if not isinstance(o, Failure)}
        if self.floor is None:
            self._raise(failed, values)
            return np.array(list(values.values()))
        for name, failure in failed.items():
            reason = f"{failure.kind}, {failure.reason}"
            logger.warning("no reward for %s: %s; log R = %g", name, reason, self.floor)
            logger.debug("%s", failure.traceback)
        return np.array([values.get(name, self.floor) for name in strings])

    def _raise(self, failed: dict[str, Failure], values: dict[str, float]) -> None:
        if not failed:
            return
        for name, value in values.items():
            self._cache.put(name, value)
        (name, failure), *others = failed.items()
        more = f" (and {len(others)} others)" if others else ""
        raise RewardError(
            f"no reward for {name}: {failure.kind}, {failure.reason}{more}\n{failure.traceback}"
        )

    def _evaluate(self, strings: list[str]) -> list[float | Failure]:
        if self.workers:
            if self._pool is None or not self._pool.mine:
                self._pool = Workers(self.function, self.workers, self.timeout, self.objects)
            return self._pool(strings)
        outcomes = attempt(self.function, strings, self.objects)
        if len(strings) > 1 and all(_raised(outcome) for outcome in outcomes):
            return [attempt(self.function, [name], self.objects)[0] for name in strings]
        return outcomes

    def _settings(self) -> tuple[Any, ...]:
        return self.function, self.on_failure, self.floor, self.timeout, self.workers

    def __eq__(self, other: object) -> bool:
        """Made alike; environments of one VecEnv must be."""
        return type(self) is type(other) and self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash((type(self), self._settings()))

    def __getstate__(self) -> dict[str, Any]:
        # The cache leaves out its content; workers and lock are of this process.
        return {name: v for name, v in vars(self).items() if name not in ("_pool", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._pool, self._lock = None, threading.RLock()


def _raised(outcome: float | Failure) -> bool:
    return isinstance(outcome, Failure) and outcome.kind == "error"
