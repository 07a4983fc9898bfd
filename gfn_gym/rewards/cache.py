"""Numbers that are expensive to compute, remembered by key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from gfn_gym.arguments import whole
from gfn_gym.dag import Floats

CACHE_SIZE = 1_000_000
"""Values; some 250 MB when full, of molecules of the paper's blocks."""

Key = TypeVar("Key", bound=Hashable)


class Cache(Generic[Key]):
    """Numbers by key; the one that was asked for longest ago is dropped first.

    Pickles, and so models, hold its size but not its content.
    """

    def __init__(self, size: int = CACHE_SIZE):
        self.size = whole("cache_size", size, least=0)
        self._values: OrderedDict[Key, float] = OrderedDict()

    def values_of(self, keys: Sequence[Key], compute: Callable[[list[int]], Floats]) -> Floats:
        """Return the values of n keys, float64 (n,).

        Args:
            keys: as they come, repeats included.
            compute: called once, if need be, with where unknown keys first stand: (m,) → (m,).
        """
        found: dict[Key, float] = {}
        unknown: dict[Key, int] = {}
        for i, key in enumerate(keys):
            if key in self._values:
                self._values.move_to_end(key)
                found[key] = self._values[key]
            else:
                unknown.setdefault(key, i)
        if unknown:
            values = compute(list(unknown.values())).tolist()
            found.update(zip(unknown, values, strict=True))
            for key in unknown:
                self.put(key, found[key])
        return np.array([found[key] for key in keys], dtype=np.float64)

    def put(self, key: Key, value: float) -> None:
        """Remember one value."""
        self._values[key] = value
        if len(self._values) > self.size:
            self._values.popitem(last=False)

    def forget(self, key: Key) -> None:
        """Drop one value, if it is there."""
        self._values.pop(key, None)

    def items(self) -> list[tuple[Key, float]]:
        """Keys and values, the one that was asked for longest ago first."""
        return list(self._values.items())

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __reduce__(self) -> tuple[Any, ...]:
        return Cache, (self.size,)
