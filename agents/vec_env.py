"""The native batch as a Stable-Baselines3 VecEnv, and how any environment becomes one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecMonitor

from gfn_gym.dag import DAG, Actions, Mask
from gfn_gym.env import GFNEnv, Simulator, integer_actions
from gfn_gym.mdp import MDP, Transition
from gfn_gym.observation import Observer
from gfn_gym.vector_env import GFNVectorEnv

from .wrapped import refuse, unwrap

if TYPE_CHECKING:
    from .replay.trajectory import Trajectory


class GFNVecEnv(VecEnv):
    """``num_envs`` constructions stepped as one batch of arrays, reset in the step that ends them.

    Behaves as any VecEnv (``terminal_observation`` and ``episode`` in the infos of finished
    episodes, ``env_method("action_masks")`` for sb3-contrib); the agents step it by states,
    :meth:`step_states`, without making observations.

    Args:
        mdp: the decision process.
        num_envs: how many constructions.
        observation: the form of the observations.
    """

    def __init__(self, mdp: MDP, num_envs: int, observation: str = "onehot"):
        self.mdp = mdp
        self.observer = Observer(mdp.dag, observation)
        self.simulator = Simulator(mdp, num_envs)
        self.render_mode: str | None = None
        self._blank_infos: list[dict[str, Any]] = [{} for _ in range(num_envs)]
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, dtype=np.int64)
        self._start_time = time.time()
        self._actions: Any = None
        super().__init__(num_envs, self.observer.space, spaces.Discrete(mdp.dag.n_actions))

    @property
    def dag(self) -> DAG:
        """The DAG whose objects are constructed."""
        return self.mdp.dag

    # ---- by states --------------------------------------------------------------------------

    def step_states(self, actions: Actions) -> tuple[Transition, list[dict[str, Any]]]:
        """Take an action (num_envs,) each; return what it led to, before resets, and the infos.

        Afterwards ``simulator.states`` and ``simulator.mask`` are those after resets.
        """
        transition = self.simulator.step(actions)
        self._returns += transition.rewards
        self._lengths += 1
        infos = self._blank_infos
        if transition.done.any():
            infos = list(infos)
            for row in np.flatnonzero(transition.done).tolist():
                infos[row] = {"episode": self._episode(row), "TimeLimit.truncated": False}
            self._returns[transition.done] = 0.0
            self._lengths[transition.done] = 0
        self.simulator.finish_step(transition.done)
        return transition, infos

    def _episode(self, row: int) -> dict[str, float]:
        elapsed = round(time.time() - self._start_time, 6)
        return {"r": float(self._returns[row]), "l": int(self._lengths[row]), "t": elapsed}

    def begin_at(self, rows: NDArray[np.int64], starts: Sequence[tuple[Trajectory, int]]) -> None:
        """Let environments at ``rows`` (k,) begin after some steps of given trajectories.

        What those steps have earned counts as if the environment had taken them itself.
        """
        states = np.stack([t.states[steps] for t, steps in starts])
        self.simulator.place(rows, states.astype(self.dag.state_space.dtype))
        for row, (t, steps) in zip(rows.tolist(), starts, strict=True):
            self._returns[row] = t.log_backward[:steps].sum() + t.shaping[:steps].sum()
            self._lengths[row] = steps

    # ---- as a VecEnv ------------------------------------------------------------------------

    def reset(self) -> NDArray[Any]:
        self.simulator.restart()
        self._returns[:], self._lengths[:] = 0.0, 0
        self._reset_seeds()
        self._reset_options()
        return self.observer.observe(self.simulator.states)

    def step_async(self, actions: Any) -> None:
        self._actions = integer_actions(actions, self.num_envs)

    def step_wait(self) -> tuple[NDArray[Any], NDArray[np.float32], Mask, list[dict[str, Any]]]:
        transition, infos = self.step_states(self._actions)
        # A VecEnv's user may write into the infos; only the agents are handed the blank ones.
        infos = [dict(info) for info in infos]
        if transition.done.any():
            rows = np.flatnonzero(transition.done)
            last = self.observer.observe(transition.next_states[rows])
            for row, observation in zip(rows, last, strict=True):
                infos[row]["terminal_observation"] = observation
        observations = self.observer.observe(self.simulator.states)
        return observations, transition.rewards.astype(np.float32), transition.done, infos

    def action_masks(self) -> Mask:
        """The legal actions, bool (num_envs, n_actions)."""
        return self.simulator.visible_mask().astype(bool)

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        rows = self._get_indices(indices)
        if attr_name == "action_masks":  # how sb3-contrib asks whether there are masks
            return [self.action_masks for _ in rows]
        return [getattr(self, attr_name) for _ in rows]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(
            f"the native batch shares one {attr_name!r} among its environments: make a new "
            "environment with the value you want"
        )

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        if method_name != "action_masks":
            raise AttributeError(f"the native batch has no method {method_name!r} per environment")
        masks = self.action_masks()
        return [masks[row] for row in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        # It reports episodes as Monitor does, so it needs none.
        rows = self._get_indices(indices)
        return [issubclass(Monitor, wrapper_class) for _ in rows]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        return [
            self.dag.render(self.simulator.states[row : row + 1], "rgb_array")
            for row in range(self.num_envs)
        ]

    # ---- checkpoints ------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The episodes in flight."""
        return {
            "states": self.simulator.states,
            "returns": self._returns,
            "lengths": self._lengths,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        # Into arrays of our own layout: the DAG's code is fastest on its own memory order.
        self.simulator.restart()
        self.simulator.states[:] = state["states"]
        self.simulator.finish_step()
        self._returns[:], self._lengths[:] = state["returns"], state["lengths"]


def as_vec_env(env: Any, n_envs: int) -> GFNVecEnv:
    """Turn whatever a user has into the native batch.

    Args:
        env: an environment id, a Gymnasium environment of ours (``n_envs`` copies are made), our
            vector environment, or a VecEnv of our environments (the same number is kept).
        n_envs: how many, where ``env`` is a single one.

    Raises:
        TypeError: it is not a GFN environment, a wrapper changes what the agent would see, or a
            batch of another kind cannot be stepped natively; the message says what to pass.
        ValueError: a VecEnv mixes different environments.
    """
    if isinstance(env, GFNVecEnv):
        return env
    if isinstance(env, str):
        env = gymnasium.make(env)
    if isinstance(env, GFNVectorEnv):
        return GFNVecEnv(env.mdp, env.num_envs, env.observer.name)
    if isinstance(env, gymnasium.vector.VectorEnv):
        _refuse_vector_env(env)
    if isinstance(env, VecEnv):
        first, *others = _members(env)
        for other in others:
            if not made_alike(other.mdp, first.mdp):
                raise ValueError(
                    f"the VecEnv mixes {first.dag!r} and {other.dag!r}, or their backward "
                    "policies, potentials or reward functions differ: make it of one"
                )
        return first if isinstance(first, GFNVecEnv) else _batch(first, env.num_envs)
    if isinstance(env, gymnasium.Env):
        return _batch(unwrap(env), n_envs)
    raise TypeError(f"env={env!r} is neither an environment id, an environment nor a VecEnv")


def check_reads_back(batch: GFNVecEnv) -> None:
    """Raise a TypeError where observations lose information: our agents need the state."""
    try:
        batch.observer.states_of(batch.observer.observe(batch.dag.initial_states(1)))
    except NotImplementedError as error:
        raise TypeError(
            f"the {batch.observer.name!r} observations of {batch.dag!r} cannot be turned back into "
            "states, so predict() could not act on them: choose another observation, or a library "
            "that only observes"
        ) from error


def check_same_structure(ours: DAG, theirs: DAG) -> None:
    """Raise a ValueError that names both where two DAGs differ in states or actions."""
    if ours.structure() != theirs.structure():
        raise ValueError(
            f"the environment is {theirs!r}, but the model was made for {ours!r}: states and "
            "actions must be the same"
        )


def _batch(env: GFNEnv, n_envs: int) -> GFNVecEnv:
    return GFNVecEnv(env.mdp, n_envs, env.observer.name)


def _members(env: VecEnv) -> list[Any]:
    while isinstance(env, VecEnvWrapper):
        if not isinstance(env, VecMonitor):
            refuse(env, "may change observation, action or reward")
        env = env.venv
    if isinstance(env, GFNVecEnv):
        return [env]
    if not isinstance(env, DummyVecEnv):
        raise TypeError(
            f"{type(env).__name__} cannot be turned into the native batch: pass the environment, "
            "its id or a DummyVecEnv, and n_envs for the size; it steps faster in one process"
        )
    return [unwrap(member) for member in env.envs]


def made_alike(a: Any, b: Any) -> bool:
    """Whether two objects were made alike: the same types and values all the way down."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(made_alike, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(made_alike(a[key], b[key]) for key in a)
    if isinstance(a, FunctionType):  # two lambdas of one line, with what they enclose
        inside = [[cell.cell_contents for cell in f.__closure__ or ()] for f in (a, b)]
        same_code = a.__code__ is b.__code__
        return same_code and made_alike(*inside) and made_alike(a.__defaults__, b.__defaults__)
    ours = isinstance(a, (DAG, MDP)) or type(a).__module__.startswith("gfn_gym.")
    if ours and type(a).__eq__ is object.__eq__:  # type: ignore[comparison-overlap]
        # What a DAG was made with may be spelled in several ways.
        parts = [{k: v for k, v in vars(x).items() if k != "_arguments"} for x in (a, b)]
        return made_alike(*parts)
    return bool(a == b)


def _refuse_vector_env(env: gymnasium.vector.VectorEnv[Any, Any, Any]) -> NoReturn:
    if isinstance(env.unwrapped, GFNVectorEnv):
        raise TypeError(
            f"the wrapper {type(env).__name__} around a GFNVectorEnv would be bypassed: pass "
            "env.unwrapped, the GFNVectorEnv itself"
        )
    raise TypeError(
        f"{type(env.unwrapped).__name__} steps its environments one by one: pass an environment "
        "or its id, and n_envs for the size, or what gymnasium.make_vec(…, "
        "vectorization_mode='vector_entry_point') returns"
    )
