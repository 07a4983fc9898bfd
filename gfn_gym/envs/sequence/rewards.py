"""Rewards of words: a user's function, a table, or a landscape whose scores are raised to a power.

All three give a number a word, the *value*; ``scale`` says what it is: log R ("log"), R itself
("linear"), or a score s of any sign, of which R = max(s, floor)^β ("score").
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gfn_gym.arguments import choice, is_finite, number
from gfn_gym.dag import Floats
from gfn_gym.envs.sequence.tables import read_table
from gfn_gym.rewards import StringReward

WordFunction = Callable[[list[str]], Any]
"""A list of n words → n numbers."""

Table = Mapping[str, float]
RNA_LANDSCAPES = ("RNA1", "RNA2", "RNA3")


class Landscape(StringReward):
    """A function of a list of words to scores s, with R = max(s, floor)^β; higher is better.

    What it takes and does about slow and failing functions is
    ``StringReward``'s; its ``floor`` is the score of words that fail.

    Attributes:
        default_exponent, default_floor: β and floor where a sequence is given none.
    """

    objects, things = "words", "words"
    default_exponent: ClassVar[float] = 8.0
    default_floor: ClassVar[float] = 0.01


class WordReward(ABC):
    """log R of words.

    Args:
        scale: "log", "linear" or "score", see above.
        exponent: β, which multiplies log R.
        floor: of R ("linear") or of the score, before the power; None is no floor.
    """

    def __init__(self, scale: str, exponent: float, floor: float | None):
        self.scale, self.exponent, self.floor = scale, exponent, floor

    @abstractmethod
    def values(self, words: Sequence[str]) -> Floats:
        """Return what the function or the table says, float64 (n,)."""

    def __call__(self, words: Sequence[str]) -> Floats:
        """Return log R, float64 (n,).

        Raises:
            ValueError: on the linear scale, a negative R, or R = 0 without a floor.
        """
        return self.log_reward(self.values(words), words)

    def log_reward(self, values: Floats, words: Sequence[str]) -> Floats:
        """Return log R of values (n,), float64 (n,); ``words`` are named in errors."""
        if self.scale == "log":
            return self.exponent * values
        if self.scale == "linear":
            for bad in np.flatnonzero((values < 0) | ((values == 0) & (self.floor is None)))[:1]:
                raise ValueError(
                    f"R = {values[bad]} of {words[bad]!r}: with scale='linear' R must not be "
                    "negative, and where it is 0 floor= must say which least R to take instead"
                )
        least = np.finfo(np.float64).tiny if self.floor is None else self.floor
        return self.exponent * np.log(np.maximum(values, least))

    def log_partition(self, n_words: int) -> float | None:
        """Return log Z over all ``n_words`` words where it is known."""
        return None


class Uniform(WordReward):
    """R = 1 for every word: what can be checked before there is a reward."""

    def __init__(self) -> None:
        super().__init__("log", 1.0, None)

    def values(self, words: Sequence[str]) -> Floats:
        return np.zeros(len(words))

    def log_partition(self, n_words: int) -> float | None:
        return math.log(n_words)


class OfFunction(WordReward):
    """A function of words, asked for each word once."""

    def __init__(
        self, function: StringReward, scale: str, exponent: float, floor: float | None
    ) -> None:
        super().__init__(scale, exponent, floor)
        self.function = function

    def values(self, words: Sequence[str]) -> Floats:
        return self.function(words)


class OfTable(WordReward):
    """A table of words, and a value for those that are not in it."""

    def __init__(
        self,
        table: Table,
        default: float | None,
        scale: str,
        exponent: float,
        floor: float | None,
    ):
        super().__init__(scale, exponent, floor)
        self.table, self.default = dict(table), default

    def values(self, words: Sequence[str]) -> Floats:
        return np.array([self.table.get(word, self.default) for word in words], dtype=np.float64)

    def log_partition(self, n_words: int) -> float | None:
        """log Z = log(Σ R of the table + (number of the other words)·R of the default)."""
        total = float(np.logaddexp.reduce(self(list(self.table))))
        n_others = n_words - len(self.table)
        if self.default is None or not n_others:
            return total
        log_default = self.log_reward(np.array([self.default]), ["the default"])[0]
        return float(np.logaddexp(total, math.log(n_others) + log_default))


def make_reward(
    reward: str | Path | Table | WordFunction | StringReward,
    problem: Callable[[Any], str | None],
    n_words: int,
    length: int,
    scale: str = "log",
    exponent: float | None = None,
    floor: float | None = None,
    default: float | None = None,
) -> WordReward:
    """Return log R as a function of words.

    Args:
        reward: "uniform"; the name of a landscape; a :class:`Landscape`, a
            ``StringReward`` or a function; a table, or the path of one.
        problem: a word → what is wrong with it, or None.
        n_words: number of words.
        length: of the longest ones.
        scale: of a function or table, "log" or "linear".
        exponent: β; by default 8 for landscapes, 1 otherwise.
        floor: of landscapes, 0.01 by default, and of the linear scale.
        default: value of words that are not in the table.

    Raises:
        TypeError: none of these.
        ValueError: an unknown name, a bad number, bad lines of a table, all of them named.
    """
    choice("scale", scale, ("log", "linear"))
    beta = 1.0 if exponent is None else number("reward_exponent", exponent, above=0)
    least = None if floor is None else number("floor", floor, above=0)
    if isinstance(reward, str) and Path(reward).suffix.lower() in (".csv", ".parquet"):
        reward = Path(reward)
    if isinstance(reward, (Mapping, Path)):
        _refuse_floor(floor, scale)
        table = read_table(reward, problem, linear=scale == "linear", floored=floor is not None)
        return OfTable(table, _default(default, table, n_words, scale, least), scale, beta, least)
    if default is not None:
        raise ValueError(f"default={default!r} is for tables; reward={reward!r} is not one")
    if isinstance(reward, str):
        if reward == "uniform":
            _refuse_floor(floor, scale)
            return Uniform()
        reward = _named(reward, length)
    if isinstance(reward, Landscape):
        if scale != "log":
            raise ValueError("scale='linear' is for functions and tables; a landscape has scores")
        beta = reward.default_exponent if exponent is None else beta
        least = reward.default_floor if least is None else least
        return OfFunction(reward, "score", beta, least)
    _refuse_floor(floor, scale)
    if not callable(reward):
        raise TypeError(
            f"reward={reward!r} must be a name, a function of a list of words, a StringReward, a "
            "Landscape, or a table: a dict, or the path of a .csv or .parquet file"
        )
    function = reward if isinstance(reward, StringReward) else StringReward(reward)
    return OfFunction(function, scale, beta, least)


def _named(name: str, length: int) -> Landscape:
    if name not in RNA_LANDSCAPES:
        raise ValueError(
            f"reward={name!r} must be one of {['uniform', *RNA_LANDSCAPES]}, the path of a .csv or "
            ".parquet file, a dict, or a function of a list of words"
        )
    from gfn_gym.envs.rna.duplex import DuplexRatio  # needs ViennaRNA

    return Landscape(DuplexRatio((name,), length))


def _default(
    default: Any, table: Table, n_words: int, scale: str, floor: float | None
) -> float | None:
    if default is None:
        if len(table) < n_words:
            raise ValueError(
                f"the table has {len(table)} of {n_words} words: default= must be the value of "
                "the others"
            )
        return None
    least = -math.inf if scale == "log" else 0.0
    if not is_finite(default) or default < least or (not default and not least and floor is None):
        rule = "" if scale == "log" else " above 0, or 0 where floor= is given"
        raise ValueError(f"default={default!r} must be a finite number{rule}")
    return float(default)


def _refuse_floor(floor: float | None, scale: str) -> None:
    if floor is not None and scale == "log":
        raise ValueError(f"floor={floor!r} has no effect with scale='log'")
