"""A progress bar that counts trajectories."""

from __future__ import annotations

import warnings
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from gfn_gym.rewards import StringReward, slow_reward_of


class TrajectoryProgressBar(BaseCallback):
    """SB3's progress bar, for training that is measured in trajectories.

    Args:
        total: the number of trajectories at which training ends.
    """

    def __init__(self, total: int):
        super().__init__()
        try:
            from tqdm import TqdmExperimentalWarning  # type: ignore[import-untyped]
            from tqdm.rich import tqdm  # type: ignore[import-untyped]
        except ImportError as error:
            raise ImportError(
                "progress_bar=True needs tqdm and rich: pip install gfn-gym[examples]"
            ) from error
        warnings.filterwarnings("ignore", category=TqdmExperimentalWarning)
        self.total = total
        self._tqdm: Any = tqdm
        self._bar: Any = None
        self._reward: StringReward | None = None

    def _on_training_start(self) -> None:
        model: Any = self.model
        done = model._episode_num
        self._reward = slow_reward_of(model.dag)
        self._bar = self._tqdm(total=self.total, initial=done, unit=" trajectories")

    def _on_step(self) -> bool:
        self._bar.update(self.model._episode_num - self._bar.n)
        if self._reward is not None:
            self._bar.set_postfix(self._reward.progress(), refresh=False)
        return True

    def _on_training_end(self) -> None:
        self._bar.refresh()
        self._bar.close()
