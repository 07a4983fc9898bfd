"""Checks of the arguments that environments take; each message names argument, value and rule."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np


def integer(name: str, value: Any, least: int) -> int:
    """Return ``value`` as int, or raise a ValueError unless it is one of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name}={value!r} must be an integer of at least {least}")
    return int(value)


def is_finite(value: Any) -> bool:
    """Whether a value is a real number, neither NaN nor infinite."""
    return isinstance(value, Real) and math.isfinite(value)


def positive(name: str, value: Any) -> float:
    """Return ``value`` as float, or raise a ValueError unless it is finite and above 0."""
    if not (is_finite(value) and value > 0):
        raise ValueError(f"{name}={value!r} must be a finite number above 0")
    return float(value)
