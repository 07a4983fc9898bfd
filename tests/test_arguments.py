"""One dialect of argument checks: what each lets through, and what the messages say."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from gfn_gym.arguments import choice, flag, number, unit, whole
from gfn_gym.envs import arguments as old

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_returns_an_int(value: Any) -> None:
    result = whole("n", value, least=3, most=3)
    assert type(result) is int and result == 3


@pytest.mark.parametrize("value", [True, np.True_, 2.0, np.float64(2), "2", None, [2], NAN])
def test_whole_refuses_other_types(value: Any) -> None:
    with pytest.raises(TypeError, match=re.escape(f"n={value!r} must be an integer of at least 1")):
        whole("n", value, least=1)


@pytest.mark.parametrize(
    ("bounds", "rule"),
    [
        ({"least": 6}, "n=5 must be an integer of at least 6"),
        ({"most": 4}, "n=5 must be an integer of at most 4"),
        ({"least": 1, "most": 4}, "n=5 must be an integer from 1 to 4"),
    ],
)
def test_whole_refuses_what_is_out_of_bounds(bounds: dict[str, int], rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{rule}$") as caught:
        whole("n", 5, **bounds)
    assert not isinstance(caught.value, TypeError)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int8(1), Fraction(1)])
def test_number_returns_a_float(value: Any) -> None:
    result = number("x", value, least=1, most=1)
    assert type(result) is float and result == 1.0


@pytest.mark.parametrize("value", [True, np.True_, "1", None, [1.0], 1j])
def test_number_refuses_other_types(value: Any) -> None:
    with pytest.raises(TypeError, match=re.escape(f"x={value!r} must be a finite number")):
        number("x", value)


@pytest.mark.parametrize(
    ("bounds", "good", "bad", "rule"),
    [
        ({}, [-1e300, 0], [NAN, INF, -INF], ""),
        ({"least": 2}, [2, 3], [1.9, NAN, INF], " of at least 2"),
        ({"above": 0}, [1e-300], [0, -1, NAN, INF], " above 0"),
        ({"most": 2}, [2, -1e9], [2.1, NAN, -INF], " of at most 2"),
        ({"below": 0}, [-1], [0, 1, NAN, -INF], " below 0"),
        ({"least": 0, "most": 1}, [0, 1], [-0.1, 1.1, NAN], " from 0 to 1"),
        ({"least": 0, "below": 1}, [0, 0.9], [-0.1, 1, NAN], " of at least 0 and below 1"),
        ({"above": 0, "most": 1}, [0.1, 1], [0, 1.1, NAN], " above 0 and of at most 1"),
    ],
)
def test_number_keeps_its_bounds(
    bounds: dict[str, float], good: list[float], bad: list[float], rule: str
) -> None:
    for value in good:
        assert number("x", value, **bounds) == value
    for value in bad:
        message = f"x={value!r} must be a finite number{rule}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$") as caught:
            number("x", value, **bounds)
        assert not isinstance(caught.value, TypeError)


def test_unit() -> None:
    assert [unit("p", value) for value in (0, 0.5, 1)] == [0.0, 0.5, 1.0]
    for value in (-0.1, 1.1, NAN):
        with pytest.raises(ValueError, match="must be a finite number from 0 to 1"):
            unit("p", value)
    with pytest.raises(TypeError, match="p=True"):
        unit("p", True)


def test_choice() -> None:
    assert choice("mode", "b", ("a", "b")) == "b"
    assert choice("mode", None, (None, "a")) is None
    with pytest.raises(ValueError, match=r"^mode='c' must be 'a' or 'b'$") as caught:
        choice("mode", "c", ("a", "b"))
    assert not isinstance(caught.value, TypeError)
    with pytest.raises(ValueError, match="must be 'a', 'b' or 'c'"):
        choice("mode", "d", {"a": 1, "b": 2, "c": 3})
    for value in (None, 1, ["a"], np.array(["a", "b"])):
        with pytest.raises(TypeError, match="must be 'a' or 'b'"):
            choice("mode", value, ("a", "b"))


def test_flag() -> None:
    assert flag("dueling", True) is True
    assert flag("dueling", np.False_) is False
    for value in (0, 1, None, "yes", np.array([True, False])):
        with pytest.raises(TypeError, match="must be True or False"):
            flag("dueling", value)


def test_a_wrong_type_is_still_the_value_error_that_environments_raised() -> None:
    with pytest.raises(ValueError, match="n=None must be an integer"):
        whole("n", None)


def test_the_old_place_goes_on_working() -> None:
    assert old.integer("n", 2, least=2) == 2
    assert old.positive("x", 0.5) == 0.5
    assert old.is_finite(1.0) and not old.is_finite(NAN)
    with pytest.raises(ValueError, match="n=1 must be an integer of at least 2"):
        old.integer("n", 1, 2)
    with pytest.raises(ValueError, match="x=0 must be a finite number above 0"):
        old.positive("x", 0)
