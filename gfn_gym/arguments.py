"""Checks of arguments, the same for environments, evaluation and agents.

Each check returns the value in the type that it stands for, or raises an error whose message has
the argument's name, its value and what would be right. A bool is not a number, and NaN is within
no bounds.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Value = TypeVar("Value")


class ArgumentTypeError(TypeError, ValueError):
    """An argument is of the wrong type.

    A TypeError; also a ValueError, which is what environments raised for wrong types at first.
    """


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return an integer as int.

    Args:
        name: of the argument, for the message.
        value: what was given; an int or a numpy integer.
        least, most: the bounds, both allowed; None is no bound.

    Raises:
        TypeError: not an integer; 2.0 and True are not.
        ValueError: out of bounds.
    """
    rule = "an integer" + _bounds(least=least, most=most)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ArgumentTypeError(f"{name}={value!r} must be {rule}")
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError(f"{name}={value!r} must be {rule}")
    return int(value)


def number(
    name: str,
    value: Any,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> float:
    """Return a finite number as float.

    Args:
        name: of the argument, for the message.
        value: what was given; any real number, numpy's as well.
        least, most: the bounds that are allowed themselves; None is no bound.
        above, below: the bounds that are not.

    Raises:
        TypeError: not a real number.
        ValueError: NaN, infinite or out of bounds.
    """
    rule = "a finite number" + _bounds(least, above, most, below)
    if not _is_real(value):
        raise ArgumentTypeError(f"{name}={value!r} must be {rule}")
    inside = (
        math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if not inside:
        raise ValueError(f"{name}={value!r} must be {rule}")
    return float(value)


def unit(name: str, value: Any) -> float:
    """Return a number in [0, 1] as float.

    Raises:
        TypeError: not a real number.
        ValueError: NaN or outside [0, 1].
    """
    return number(name, value, least=0, most=1)


def choice(name: str, value: Value, options: Iterable[Value]) -> Value:
    """Return a string that is one of the options; None may be one of them too.

    Raises:
        TypeError: not a string, nor None where that is an option.
        ValueError: a string that is not one of the options.
    """
    known = list(options)
    *others, last = map(repr, known)
    rule = f"{', '.join(others)} or {last}" if others else last
    if not isinstance(value, str) and not (value is None and None in known):
        raise ArgumentTypeError(f"{name}={value!r} must be {rule}")
    if value not in known:
        raise ValueError(f"{name}={value!r} must be {rule}")
    return value


def open_text(name: str, path: Path) -> io.StringIO:
    """Return what a text file holds, its line ends as they are, which the csv module wants.

    Args:
        name: of the argument that gave the path, for the message.
        path: of a file in UTF-8, with or without a byte-order mark.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is in another encoding.
    """
    try:
        return io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}={str(path)!r} must be a text file in UTF-8: {error}") from error


def flag(name: str, value: Any) -> bool:
    """Return True or False, numpy's as well, as bool.

    Raises:
        TypeError: anything else; 0 and 1 as well.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(f"{name}={value!r} must be True or False")
    return bool(value)


def seeded(name: str, value: Any) -> np.random.Generator:
    """Return a generator of a seed of its own, or a given generator.

    Args:
        name: of the argument, for the message.
        value: an integer of at least 0, a ``numpy.random.Generator``, or None, for a seed that
            is new every time.

    Raises:
        TypeError: something else.
        ValueError: a negative seed.
    """
    if isinstance(value, np.random.Generator):
        return value
    return np.random.default_rng(None if value is None else whole(name, value, least=0))


def mapping(name: str, value: Any) -> dict[str, Any]:
    """Return a mapping from strings as a new dict.

    Raises:
        TypeError: anything else.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ArgumentTypeError(f"{name}={value!r} must be a dict of settings by name")
    return dict(value)


def is_finite(value: Any) -> bool:
    """Whether a value is a real number, neither NaN nor infinite; a bool is not."""
    return _is_real(value) and math.isfinite(value)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _bounds(
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> str:
    """The bounds in words, with a space before them; empty where there are none."""
    if least is not None and most is not None:
        return f" from {least} to {most}"
    words = (("of at least", least), ("above", above), ("of at most", most), ("below", below))
    given = [f"{word} {bound}" for word, bound in words if bound is not None]
    return f" {' and '.join(given)}" if given else ""
