"""The native vector environment: the same construction process, stepped as one batch of arrays."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from gfn_gym.arguments import whole
from gfn_gym.dag import DAG, Floats, Mask, States
from gfn_gym.env import Simulator, dag_class, integer_actions, render_metadata, split_kwargs
from gfn_gym.mdp import MDP, BackwardPolicy, Potential
from gfn_gym.observation import Observer


class GFNVectorEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """``num_envs`` constructions at once; agrees step by step with ``SyncVectorEnv`` of singles.

    ``infos["action_mask"]`` is int8 (num_envs, n_actions). With ``autoreset_mode`` SAME_STEP,
    ``infos`` has ``final_obs`` and ``final_info`` with their masks ``_final_obs`` and
    ``_final_info``; NEXT_STEP ignores the action on the step after an end and resets; DISABLED
    leaves resetting to ``reset(options={"reset_mask": …})``.

    Args:
        dag: the DAG.
        num_envs: how many constructions.
        autoreset_mode: a ``gymnasium.vector.AutoresetMode`` or its string.
        observation, invalid_action, invalid_reward, backward_policy, potential, render_mode: as in
            :class:`gfn_gym.env.GFNEnv`.
    """

    def __init__(
        self,
        dag: DAG,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        observation: str = "onehot",
        invalid_action: str = "raise",
        invalid_reward: float | None = None,
        backward_policy: BackwardPolicy | None = None,
        potential: str | Potential | None = None,
        render_mode: str | None = None,
    ):
        self.dag = dag
        self.mdp = MDP(dag, backward_policy, potential)
        self.num_envs = whole("num_envs", num_envs, least=1)
        self.observer = Observer(dag, observation)
        self.simulator = Simulator(self.mdp, num_envs, invalid_action, invalid_reward)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {
            **render_metadata(dag, render_mode),
            "autoreset_mode": self.autoreset_mode,
        }
        self.render_mode = render_mode
        self.single_observation_space = self.observer.space
        self.single_action_space = gymnasium.spaces.Discrete(dag.n_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._ended = np.zeros(num_envs, dtype=bool)  # episodes that await a reset
        self._some_action = int(np.argmax(self.simulator.mask[0]))  # legal in s0
        self._started = False
        self._trajectories: list[list[States]] = [[] for _ in range(num_envs)]
        _keep_freed_memory(self.observer.observe(self.simulator.states).nbytes)

    def action_masks(self) -> Mask:
        """Return the legal actions, bool (num_envs, n_actions)."""
        return self.simulator.visible_mask().astype(bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start all episodes, or those of ``options["reset_mask"]``, bool (num_envs,)."""
        if isinstance(seed, list) and len(seed) != self.num_envs:
            raise ValueError(f"seed={seed!r} must be one number or a list of {self.num_envs}")
        super().reset(seed=seed[0] if isinstance(seed, list) else seed)
        rows = self._reset_mask(options)
        self.simulator.restart(rows)
        started = np.ones(self.num_envs, dtype=bool) if rows is None else rows
        self._ended[started] = False
        self._started = True
        self._record(started)
        return self.observer.observe(self.simulator.states), self._info()

    def step(
        self, actions: Any
    ) -> tuple[NDArray[Any], NDArray[np.float64], Mask, Mask, dict[str, Any]]:
        """Take one action in each environment.

        Raises:
            ValueError: an action is illegal (unless ``invalid_action="terminate"``).
            gymnasium.error.ResetNeeded: before the first reset, or with autoreset DISABLED while
                an ended episode has not been reset.
        """
        if not self._started:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        actions = integer_actions(actions, self.num_envs)
        waiting = self._ended  # (num_envs,): this step resets them, and ignores their action
        if waiting.any():
            done, rewards = self._step_others(actions, waiting)
        else:
            transition = self.simulator.step(actions)
            done, rewards = transition.done, transition.rewards
        infos = self._finish(done, waiting) | self._info()
        observations = self.observer.observe(self.simulator.states)
        truncated = np.zeros(self.num_envs, dtype=bool)
        return observations, rewards, done.copy(), truncated, infos

    def _step_others(self, actions: NDArray[np.int64], waiting: Mask) -> tuple[Mask, Floats]:
        """Step all but the rows (num_envs,) that await a reset, for which nothing happens.

        The simulator steps all rows at once, so those that wait take some legal action from s0;
        :meth:`_finish` puts them back. Returns which are done, and the rewards, (num_envs,) each.
        """
        if self.autoreset_mode is AutoresetMode.DISABLED:
            raise gymnasium.error.ResetNeeded(
                f"episodes {np.flatnonzero(waiting).tolist()} have ended: reset them with "
                "options={'reset_mask': …} first"
            )
        self.simulator.restart(waiting)
        transition = self.simulator.step(np.where(waiting, self._some_action, actions))
        return transition.done & ~waiting, np.where(waiting, 0.0, transition.rewards)

    def _finish(self, done: Mask, waiting: Mask) -> dict[str, Any]:
        """Reset what the autoreset mode says, and return the infos of episodes that end here.

        SAME_STEP resets those that are done now; the other modes put those back that awaited a
        reset, and leave those that are done now waiting.
        """
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            self.simulator.finish_step()
            infos = self._final(done)
            self.simulator.restart(done)
            self._record(done)
            return infos
        self.simulator.finish_step(waiting)
        self._ended = done
        self._record(waiting)
        return {}

    def render(self) -> tuple[Any, ...] | None:
        """Draw every trajectory so far; None without a ``render_mode``."""
        if self.render_mode is None:
            return None
        if not self._started:
            raise gymnasium.error.ResetNeeded("call reset() before render()")
        return tuple(
            self.dag.render(np.stack(states), self.render_mode) for states in self._trajectories
        )

    def _info(self) -> dict[str, Any]:
        everywhere = np.ones(self.num_envs, dtype=bool)
        return {"action_mask": self.simulator.visible_mask(), "_action_mask": everywhere}

    def _final(self, done: Mask) -> dict[str, Any]:
        """The last observation and info of the episodes that end in this very step."""
        if not done.any():
            return {}
        observations = np.full(self.num_envs, None, dtype=object)
        last = self.observer.observe(self.simulator.states[done])
        observations[done] = np.fromiter(last, dtype=object, count=len(last))
        mask = self.simulator.visible_mask() * done[:, None]
        return {
            "final_obs": observations,
            "_final_obs": done.copy(),
            "final_info": {"action_mask": mask, "_action_mask": done.copy()},
            "_final_info": done.copy(),
        }

    def _reset_mask(self, options: dict[str, Any] | None) -> Mask | None:
        rows = (options or {}).get("reset_mask")
        if rows is None:
            return None
        if not isinstance(rows, np.ndarray) or rows.dtype != bool or rows.shape != (self.num_envs,):
            raise ValueError(
                f"options['reset_mask'] must be a bool array of shape ({self.num_envs},), "
                f"not {rows!r}"
            )
        if not rows.any():
            raise ValueError("options['reset_mask'] must be True somewhere")
        return rows

    def _record(self, started: Mask) -> None:
        """Keep the trajectories, if they may be drawn."""
        if self.render_mode is not None:
            for row, state in enumerate(self.simulator.states):
                self._trajectories[row] = ([] if started[row] else self._trajectories[row]) + [
                    state
                ]


def _keep_freed_memory(nbytes: int) -> None:
    """Let the allocator keep what a step frees, observations of ``nbytes``, for the next one.

    glibc gives such blocks back to the system, and faulting them in anew costs as much as the
    step itself. It stops doing so for sizes of which it has seen one come and go; this block's
    memory is never touched. Elsewhere this does nothing.
    """
    np.empty(min(8 * nbytes, 2**25 - 2**16), dtype=np.uint8)  # glibc adapts up to 32 MiB


def make_vector_env(dag: str | type[DAG], num_envs: int = 1, **kwargs: Any) -> GFNVectorEnv:
    """Build the native batch of a DAG class (or "module:Class"): the registry's entry point."""
    dag_kwargs, env_kwargs = split_kwargs(kwargs, GFNVectorEnv)
    return GFNVectorEnv(dag_class(dag)(**dag_kwargs), num_envs, **env_kwargs)
