"""Sequences of bases that users give."""

from __future__ import annotations

from typing import Any

from gfn_gym.envs.sequence.alphabet import Alphabet

BASES = Alphabet("ACGU")


def read_bases(name: str, sequence: Any, least: int = 1, most: int = 10_000) -> str:
    """Return a sequence of the letters A, C, G and U.

    Raises:
        TypeError: not a string.
        ValueError: another letter (lower case and T among them), too short or too long.
    """
    if not isinstance(sequence, str):
        raise TypeError(f"{name}={sequence!r} must be a string of the letters ACGU")
    problem = BASES.problem(sequence, least, most)
    if problem is not None:
        raise ValueError(f"{name}={problem}")
    return sequence
