"""A progress bar that counts what the total counts: trajectories or steps."""

from __future__ import annotations

import warnings
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from gfn_gym.rewards import StringReward, slow_reward_of


class TrainingProgressBar(BaseCallback):
    """SB3's progress bar, for training whose total may be in trajectories, by whoever collects.

    SB3's own adds ``n_envs`` steps a call, which is wrong where a call stands for a whole batch.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from tqdm import TqdmExperimentalWarning  # type: ignore[import-untyped]
            from tqdm.rich import tqdm  # type: ignore[import-untyped]
        except ImportError as error:
            raise ImportError(
                "progress_bar=True needs tqdm and rich: pip install gfn-gym[examples]"
            ) from error
        warnings.filterwarnings("ignore", category=TqdmExperimentalWarning)
        self._tqdm: Any = tqdm
        self._bar: Any = None
        self._reward: StringReward | None = None

    def _on_training_start(self) -> None:
        model: Any = self.model
        self._reward = slow_reward_of(model.dag)
        total, unit = model._total_trajectories, " trajectories"
        if total is None:
            total, unit = model._total_timesteps, " steps"
        self._bar = self._tqdm(total=total, initial=self._done(), unit=unit)

    def _done(self) -> int:
        model: Any = self.model
        in_steps = model._total_trajectories is None
        return int(model.num_timesteps if in_steps else model._episode_num)

    def _on_step(self) -> bool:
        self._bar.update(self._done() - self._bar.n)
        if self._reward is not None:
            self._bar.set_postfix(self._reward.progress(), refresh=False)
        return True

    def _on_training_end(self) -> None:
        self._bar.refresh()
        self._bar.close()
