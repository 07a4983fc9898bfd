"""Modes found while training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from gfn_gym.dag import DAG, States
from gfn_gym.evaluation.modes import HasModes, ModeTracker, Tracker

from ..evaluation import observer_of


class ModesCallback(BaseCallback):
    """Logs ``modes/found``: how many distinct modes are among the training's own objects.

    Works with any SB3 algorithm.

    Args:
        tracker: made from a DAG, it counts the modes; by default :class:`ModeTracker`, for domains
            with known modes, such as bit sequences. For molecules there is
            :class:`gfn_gym.envs.molecule.metrics.TanimotoModes`.

    Attributes:
        tracker: which ones were found; anew with another DAG, and when counting starts anew.
    """

    tracker: Tracker

    def __init__(self, tracker: Callable[[Any], Tracker] | None = None, verbose: int = 0):
        super().__init__(verbose)
        self._make = tracker
        self._dag: DAG | None = None

    def _init_callback(self) -> None:
        self.observer = observer_of(self.model)
        dag = self.observer.dag
        if self.model.num_timesteps > 0 and self._dag is dag:
            return  # training goes on
        self._dag = dag
        if self._make is not None:
            self.tracker = self._make(dag)
        elif isinstance(dag, HasModes):
            self.tracker = ModeTracker(dag)
        else:
            raise TypeError(
                f"{dag!r} has no modes to find: no modes, mode_threshold, …; or give a tracker="
            )

    def _on_step(self) -> bool:
        self.tracker.add(self._finished())
        return True

    def _on_rollout_end(self) -> None:
        self.logger.record("modes/found", len(self.tracker))

    def _finished(self) -> States:
        """The objects (n, d) that this step has finished."""
        transition = self.locals.get("transition")
        if transition is not None:  # our agents
            return transition.next_states[transition.done]
        infos = [info for info in self.locals["infos"] if "terminal_observation" in info]
        if not infos:
            return self.observer.dag.initial_states(0)
        states = self.observer.states_of(_stacked([i["terminal_observation"] for i in infos]))
        if self.observer.dag.stop_action is not None:
            return states
        # An episode that an illegal action has ended may leave its object unfinished.
        return states[~self.observer.dag.action_mask(states).any(axis=1)]

    def state_dict(self) -> dict[str, Any]:
        return self.tracker.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tracker.load_state_dict(state)


def _stacked(observations: list[Any]) -> Any:
    """Observations of single states as one of all, arrays or dicts of them."""
    if isinstance(observations[0], dict):
        return {key: np.stack([o[key] for o in observations]) for key in observations[0]}
    return np.stack(observations)
