"""The Gymnasium environment of a DAG: the batch of one."""

from __future__ import annotations

import warnings
from typing import Any, NoReturn

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gfn_gym.arguments import choice, number, whole
from gfn_gym.contract import FirstSteps, check_members
from gfn_gym.dag import DAG, Actions, Mask, States
from gfn_gym.mdp import MDP, BackwardPolicy, Potential, Transition, check_legal, legal_actions
from gfn_gym.observation import Observer
from gfn_gym.registration import imported


class Simulator:
    """n constructions under way, and what an illegal action means to them.

    Both environments and the agents' training batch step this one object.

    Args:
        mdp: the decision process.
        n: how many constructions.
        invalid_action: "raise" a ValueError, or "terminate" the episode.
        invalid_reward: what the terminated episode earns instead; finite. None: the DAG's
            ``default_invalid_reward``.

    Attributes:
        states: (n, d), where each construction stands.
        mask: bool (n, n_actions), the legal actions there.
    """

    def __init__(
        self,
        mdp: MDP,
        n: int,
        invalid_action: str = "raise",
        invalid_reward: float | None = None,
    ):
        if invalid_reward is None:
            invalid_reward = mdp.dag.default_invalid_reward()
        self.mdp = mdp
        self.n = whole("num_envs", n, least=1)
        self.invalid_action = choice("invalid_action", invalid_action, ("raise", "terminate"))
        self.invalid_reward = number("invalid_reward", invalid_reward)
        check_members(mdp.dag)
        self._first_steps: FirstSteps | None = FirstSteps(mdp.dag)
        self._warned = False  # that a log R lies below invalid_reward
        self._first_state = mdp.dag.initial_states(1)
        self._first_mask = mdp.dag.action_mask(self._first_state)
        self.restart()

    def restart(self, rows: Mask | None = None) -> None:
        """Put all constructions, or those where ``rows`` (n,) is True, back to s0."""
        if rows is None:
            self.states = self.mdp.dag.initial_states(self.n)
            self.mask = self.mdp.dag.action_mask(self.states)
        elif rows.any():
            self.states = self._restarted(rows)
            self.mask[rows] = self._first_mask

    def step(self, actions: Actions) -> Transition:
        """Take one action (n,) each. Leaves the mask to :meth:`finish_step`."""
        legal = legal_actions(self.mask, actions)
        if legal.all():
            transition = self._take(actions)
        elif self.invalid_action == "raise":
            self._refuse(actions)
        else:
            transition = self._terminate(actions, legal)
        self.states = transition.next_states
        return transition

    def _take(self, actions: Actions) -> Transition:
        """Take legal actions, and look closely at the first that there are."""
        edge = self.mdp.step(self.states, actions)
        if self._first_steps is not None:
            self._first_steps.look(self.states, edge.next_states, edge.done, edge.log_reward)
            if self._first_steps.over:
                self._first_steps = None
        if self.mdp.backward_policy is not None:
            self._check_finite(actions, edge)
        if self.invalid_action == "terminate" and not self._warned:
            self._compare(edge)
        return edge

    def _check_finite(self, actions: Actions, edge: Transition) -> None:
        """Refuse an edge that has no probability: its reward of −inf would spoil any training."""
        finite = np.isfinite(edge.log_backward)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(
                f"the backward policy gives probability 0 to the edge that action {actions[row]} "
                f"takes from state {self.states[row].tolist()} to "
                f"{edge.next_states[row].tolist()}, so that its reward is -inf: give every legal "
                "backward action some"
            )

    def _compare(self, edge: Transition) -> None:
        """Warn, once, where an object earns less than an illegal action does."""
        below = edge.done & (edge.log_reward < self.invalid_reward)
        if below.any():
            self._warned = True
            row = int(np.argmax(below))
            log_reward, state = edge.log_reward[row], edge.next_states[row].tolist()
            warnings.warn(
                f"log R = {log_reward:.6g} of {state} lies below invalid_reward="
                f"{self.invalid_reward}, so that an illegal action earns more than this object: "
                "choose a lower invalid_reward",
                stacklevel=4,
            )

    def finish_step(self, restart: Mask | None = None) -> None:
        """Restart the rows (n,) that are True, and renew the mask."""
        if restart is not None and restart.any():
            self.states = self._restarted(restart)
        self.mask = self.mdp.dag.action_mask(self.states)

    def place(self, rows: NDArray[np.int64], states: States) -> None:
        """Put the constructions at ``rows`` (k,) into given unfinished states (k, d)."""
        self.states = self.states.copy()  # the old one may have been handed out
        self.states[rows] = states
        self.mask[rows] = self.mdp.dag.action_mask(states)

    def _restarted(self, rows: Mask) -> States:
        # A new array, for the old one may have been handed out.
        return np.where(rows[:, None], self._first_state, self.states)

    def _terminate(self, actions: Actions, legal: Mask) -> Transition:
        # An illegal row takes some legal action, and is then put back as if it had not.
        safe = np.where(legal, actions, np.argmax(self.mask, axis=1))
        transition = self._take(safe)
        transition.next_states[~legal] = self.states[~legal]
        transition.done[~legal] = True
        transition.log_backward[~legal] = 0.0
        transition.log_reward[~legal] = self.invalid_reward
        transition.shaping[~legal] = -self.mdp.potential_of(self.states[~legal])
        return transition

    def _refuse(self, actions: Actions) -> NoReturn:
        try:
            check_legal(self.mdp.dag, self.states, actions, self.mask)
        except ValueError as error:
            raise ValueError(
                f"{error}. info['action_mask'] and action_masks() say what is legal; a library "
                "that reads neither takes the Terminate variant, as in HypergridGFN-Terminate-v0, "
                "or invalid_action='terminate'"
            ) from None
        raise AssertionError("unreachable")

    def visible_mask(self) -> NDArray[np.int8]:
        """The mask as a fresh int8 (n, n_actions) with at least one bit a row.

        Completed objects have no legal action; libraries that sample from the mask of an ended
        episode before they reset it get action 0 there, which no step will take.
        """
        mask = self.mask.astype(np.int8)
        if self.mdp.dag.stop_action is None:
            mask[~self.mask.any(axis=1), 0] = 1
        return mask


class GFNEnv(gymnasium.Env[Any, Any]):
    """A GFlowNet's DAG as an episodic environment with the reward of Theorem 1.

    ``reset`` and ``step`` put the legal actions into ``info["action_mask"]``, int8 (n_actions,);
    :meth:`action_masks` gives them as bool, the convention of sb3-contrib. Made by
    ``gymnasium.make`` from a registered id, or from a DAG object directly.

    Args:
        dag: the DAG.
        observation: "onehot" (float32 Box), "state" (the compact state), or one of the DAG's
            ``other_observations``.
        invalid_action: "raise" a ValueError at an illegal action, or "terminate" the episode with
            ``invalid_reward``, for libraries without masks; the theorem then holds approximately.
        invalid_reward: finite, below every log R, else a warning says so; None: what the DAG
            gives, −100 or less.
        backward_policy: P_B as a function of states, see :class:`gfn_gym.mdp.MDP`; None: uniform.
        potential: a reward at every step that leaves the optimum as it is: None, "dag" for the
            DAG's own potential, or a function of states (n, d) to float64 (n,); see there.
        render_mode: None or one of the DAG's ``render_modes``.
    """

    def __init__(
        self,
        dag: DAG,
        *,
        observation: str = "onehot",
        invalid_action: str = "raise",
        invalid_reward: float | None = None,
        backward_policy: BackwardPolicy | None = None,
        potential: str | Potential | None = None,
        render_mode: str | None = None,
    ):
        self.dag = dag
        self.mdp = MDP(dag, backward_policy, potential)
        self.observer = Observer(dag, observation)
        self.simulator = Simulator(self.mdp, 1, invalid_action, invalid_reward)
        self.observation_space = self.observer.space
        self.action_space = gymnasium.spaces.Discrete(dag.n_actions)
        self.metadata = render_metadata(dag, render_mode)
        self.render_mode = render_mode
        self._trajectory: list[States] = []  # of this episode, or the last
        self._under_way = False

    @property
    def state(self) -> States:
        """The current state, (d,)."""
        return self.simulator.states[0].copy()

    def action_masks(self) -> Mask:
        """Return the legal actions, bool (n_actions,)."""
        return self.simulator.visible_mask()[0].astype(bool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode at s0."""
        super().reset(seed=seed)
        self.simulator.restart()
        self._trajectory = [self.simulator.states[0]]
        self._under_way = True
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Take an action.

        Raises:
            ValueError: the action is illegal (unless ``invalid_action="terminate"``); the message
                names the action, the state and what is legal.
            gymnasium.error.ResetNeeded: no episode is under way.
        """
        if not self._under_way:
            raise gymnasium.error.ResetNeeded("no episode is under way: call reset() before step()")
        transition = self.simulator.step(integer_actions(action, 1))
        self.simulator.finish_step()
        self._trajectory.append(self.simulator.states[0])
        done = bool(transition.done[0])
        self._under_way = not done
        return self._observation(), float(transition.rewards[0]), done, False, self._info()

    def render(self) -> Any:
        """Draw the trajectory so far, as ``render_mode`` says; None without one."""
        if self.render_mode is None:
            return None
        if not self._trajectory:
            raise gymnasium.error.ResetNeeded("call reset() before render()")
        return self.dag.render(np.stack(self._trajectory), self.render_mode)

    def _observation(self) -> NDArray[Any]:
        return np.asarray(self.observer.observe(self.simulator.states)[0])

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.simulator.visible_mask()[0]}


def make_env(dag: str | type[DAG], **kwargs: Any) -> GFNEnv:
    """Build the environment of a DAG class (or "module:Class"): the registry's entry point.

    Keywords that :class:`GFNEnv` knows go there, the rest to the DAG.
    """
    dag_kwargs, env_kwargs = split_kwargs(kwargs, GFNEnv)
    return GFNEnv(dag_class(dag)(**dag_kwargs), **env_kwargs)


def dag_class(dag: str | type[DAG]) -> type[DAG]:
    """Import a DAG class that is named "module:Class"; a class is returned as it is."""
    if isinstance(dag, str):
        dag = imported(dag)
    if not (isinstance(dag, type) and issubclass(dag, DAG)):
        raise TypeError(f"dag={dag!r} must be a subclass of gfn_gym.DAG, or 'module:Class' of one")
    return dag


def split_kwargs(kwargs: dict[str, Any], env: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part keywords into those of the DAG and those that the environment's __init__ names."""
    names = env.__init__.__kwdefaults__  # type: ignore[misc]
    ours = {name: value for name, value in kwargs.items() if name in names}
    return {name: value for name, value in kwargs.items() if name not in names}, ours


def render_metadata(dag: DAG, render_mode: str | None) -> dict[str, Any]:
    """Return an environment's metadata after seeing that the DAG can draw ``render_mode``."""
    if render_mode is not None and render_mode not in dag.render_modes:
        raise ValueError(f"render_mode={render_mode!r} is not one of {list(dag.render_modes)}")
    return {"render_modes": list(dag.render_modes), "render_fps": 4}


def integer_actions(actions: Any, n: int) -> NDArray[np.int64]:
    """Return actions as int64 (n,), or raise a ValueError that says what they are instead."""
    array = np.asarray(actions)
    if array.size != n or array.dtype.kind not in "iu":
        raise ValueError(f"actions must be {n} integer(s), not {actions!r}")
    return array.reshape(n).astype(np.int64, copy=False)
