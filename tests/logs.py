"""What a model tells in its log."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.logger import KVWriter


class Kept(KVWriter):
    """Keeps what was logged last."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def write(self, key_values: dict[str, Any], *_: Any) -> None:
        self.values = dict(key_values)


def logged(model: Any) -> dict[str, Any]:
    """What a trained model writes into its log now."""
    kept = Kept()
    model.logger.output_formats.append(kept)
    model.dump_logs()
    model.logger.output_formats.remove(kept)
    return kept.values


def updates(model: Any) -> int:
    """How many gradient steps the model has taken."""
    return int(logged(model)["train/n_updates"])


def trajectories(model: Any) -> int:
    """How many trajectories have ended in training."""
    return int(logged(model)["time/trajectories"])
