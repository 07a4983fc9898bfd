"""The callbacks' state across a kill: taken while they are attached, given back on resume."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EventCallback

States = Sequence[tuple[str, dict[str, Any]]]
"""Of each callback, the name of its class and its state."""


class CallbackStates:
    """Knows the callbacks of a training while it runs, and only their states after it.

    Args:
        saved: what an earlier one's :meth:`current` gave.
    """

    def __init__(self, saved: States = ()):
        self._saved = saved
        self._callback: BaseCallback | None = None

    def attach(self, callback: BaseCallback, restore: bool) -> None:
        """Follow a training's callbacks; give them the saved states if they are to be restored."""
        states = list(self._saved) if restore else []
        for member in _members(callback):
            for entry in states:
                if entry[0] == type(member).__name__:
                    _load_state(member, entry[1])
                    states.remove(entry)
                    break
        self._callback = callback

    def release(self) -> None:
        """Keep the states only: the callbacks' locals would keep a model from being copied.

        What a callback holds while a training runs, such as a lock, it gives up by ``release()``.
        """
        self._saved = self.current()
        for member in _members(self._callback):
            if hasattr(member, "release"):
                member.release()
        self._callback = None

    def current(self) -> States:
        """The states as they are now."""
        if self._callback is None:
            return self._saved
        return [(type(member).__name__, _state_of(member)) for member in _members(self._callback)]


def _members(callback: BaseCallback | None) -> Iterator[BaseCallback]:
    """A callback and all that lie inside it."""
    if callback is None:
        return
    yield callback
    inside = callback.callbacks if isinstance(callback, CallbackList) else []
    if isinstance(callback, EventCallback) and callback.callback is not None:
        inside = [callback.callback]
    for member in inside:
        yield from _members(member)


def _state_of(callback: BaseCallback) -> dict[str, Any]:
    """A callback's own ``state_dict``, else its counters and results.

    Those are numbers, arrays and lists, except for constructor arguments: an argument, such as a
    frequency or a path, is for the user to change between runs.
    """
    counters = {"n_calls": callback.n_calls, "num_timesteps": callback.num_timesteps}
    if hasattr(callback, "state_dict"):
        return {"own": callback.state_dict(), "counters": counters}
    found = {name: value for name, value in vars(callback).items() if _is_state(callback, name)}
    return {"own": None, "counters": {**found, **counters}}


def _is_state(callback: BaseCallback, name: str) -> bool:
    """Whether an attribute of a callback is a counter or a result, and no argument."""
    value, arguments = vars(callback).get(name), inspect.signature(type(callback).__init__)
    kinds = (int, float, np.number, np.ndarray, list)
    return isinstance(value, kinds) and name not in arguments.parameters and _plain(value)


def _plain(value: Any) -> bool:
    """Whether a value is numbers all the way down; a list of callbacks or environments is not."""
    if isinstance(value, list):
        return all(
            isinstance(item, (int, float, str, np.number, np.ndarray, list)) for item in value
        )
    return True


def _load_state(callback: BaseCallback, state: dict[str, Any]) -> None:
    # A file may give numbers to what are numbers here, and not, say, another path to a callback.
    counters = state["counters"].items()
    vars(callback).update({name: value for name, value in counters if _is_state(callback, name)})
    if state["own"] is not None:
        callback.load_state_dict(state["own"])  # type: ignore[attr-defined]
