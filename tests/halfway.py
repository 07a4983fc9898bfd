"""A training that is cut off half-way and goes on from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gfn_gym.agents import TrainingCheckpoint


class CutOff(TrainingCheckpoint):
    """Interrupts after ``at`` trajectories, as soon as the checkpoint is written."""

    def __init__(self, path: Path, at: int):
        super().__init__(path, (4, "episode"))
        self.at = at

    def _on_rollout_start(self) -> None:
        super()._on_rollout_start()
        if self.model._episode_num >= self.at:
            raise KeyboardInterrupt


def resumed_half_way(model: Any, total: int, path: Path) -> Any:
    """Train a new model to half of ``total`` trajectories, and to the end from its checkpoint."""
    with pytest.raises(KeyboardInterrupt):
        model.learn(total_trajectories=total, callback=CutOff(path, total // 2))
    return type(model).resume(path).learn()
