"""The old place of :mod:`gfn_gym.arguments`, which serves agents and evaluation as well."""

from __future__ import annotations

from typing import Any

from gfn_gym.arguments import is_finite, number, whole

__all__ = ["integer", "is_finite", "positive"]


def integer(name: str, value: Any, least: int) -> int:
    """Return an integer of at least ``least``: :func:`gfn_gym.arguments.whole`."""
    return whole(name, value, least=least)


def positive(name: str, value: Any) -> float:
    """Return a finite number above 0: :func:`gfn_gym.arguments.number`."""
    return number(name, value, above=0)
