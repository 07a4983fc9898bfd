"""A table of another library, since pandas is not installed here."""

from __future__ import annotations

from typing import Any

import numpy as np


class Frame:
    """What a pandas DataFrame looks like from outside."""

    def __init__(self, **columns: Any):
        self.columns = list(columns)
        self._values = list(columns.values())
        self.iloc = self

    def __getitem__(self, place: tuple[slice, int]) -> Any:
        return self._values[place[1]]

    def to_numpy(self) -> Any:
        return np.stack(self._values, axis=1)
