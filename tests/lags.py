"""How old what is learnt from may be, where others collect."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.callbacks import BaseCallback


class Lags(BaseCallback):
    """Notes the largest lag that was learnt from."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def _on_step(self) -> bool:
        model: Any = self.model
        self.largest = max(self.largest, model._n_updates - self.locals["built"].versions.min())
        return True
