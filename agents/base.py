"""What every agent is: set-up, acting, a gradient step, the log, saving."""

from __future__ import annotations

import inspect
import os
import uuid
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import (
    GymEnv,
    Schedule,
)
from stable_baselines3.common.utils import LinearSchedule, safe_mean
from stable_baselines3.common.vec_env import VecEnv

from gfn_gym.arguments import flag, mapping, number, unit, whole
from gfn_gym.dag import DAG, Mask, States
from gfn_gym.mdp import MDP, BackwardPolicy, Transition, sample_legal_actions
from gfn_gym.observation import Observer
from gfn_gym.rewards import slow_reward_of

from .annealing import check_annealing, exponent_at
from .architectures import Architecture, architecture_of
from .backward import BackwardEdges, GivenBackward
from .exploration import PoolExploration, check_exploration, ladder_of
from .policy import GFNPolicy, Roles
from .presets import policy_of, with_presets
from .replay.object_pool import ObjectPool
from .replay.trajectory import Trajectory
from .training.archive import name_of
from .training.callback_states import CallbackStates
from .training.checkpoint import read_checkpoint, write_checkpoint
from .training.loop import TrainingLoop
from .training.saving import (
    make_model,
    read_model,
    read_parameters,
    read_replay_buffer,
    write_model,
    write_replay_buffer,
)
from .vec_env import GFNVecEnv, as_vec_env, check_reads_back, check_same_structure, made_alike

Self = TypeVar("Self", bound="GFNAlgorithm")


class GFNAlgorithm(TrainingLoop):
    """An SB3 algorithm that learns to sample the objects of a DAG.

    A subclass says which networks it needs (:meth:`_roles`), what it remembers
    (:meth:`_make_buffer`), how P_B is learnt, if at all (:meth:`_make_backward`), which arguments
    are wrong (:meth:`_check_arguments`), and learns (:meth:`train`). Its constructor lists every
    argument that it takes, each with a default, sets its own as attributes and passes the others
    up; ``preset=`` then works by itself.

    Args:
        policy: "auto" for the domain's, "MlpPolicy", "TransformerPolicy", "MixturePolicy",
            "BlockTreePolicy", "SmallBlockTreePolicy", "ScoredEdgesPolicy", "SpinsPolicy", or a
            subclass of :class:`Architecture`.
        env: an environment id, a GFN environment, or a VecEnv of them.
        learning_rate: a number, or a function of the progress that remains, from 1 to 0.
        preset: the name of settings that were registered for this environment, or None.
        n_envs: constructions stepped together; None: 16, or those of a VecEnv.
        exploration_initial_eps, exploration_final_eps, exploration_fraction: ε, the chance of a
            uniform legal action, at the start, after that share of the training, and linear
            between.
        exploration_ladder, replay_pool, local_search, pool_fraction: see
            :mod:`gfn_gym.agents.exploration`.
        reward_annealing: see :mod:`gfn_gym.agents.annealing`.
        max_grad_norm: clip the gradient's norm; None: don't.
        settings: of SB3's ``OffPolicyAlgorithm``.

    Attributes:
        mdp: the decision process, saved with the model.
        observation: the form of the observations.
        run: an id of this training, kept when it is resumed, by which it knows its files.
        algorithm: the class's name, saved, so that :meth:`load` can refuse another's file.
        policy: a :class:`GFNPolicy`.
        backward: how P_B is learnt: a component, see :mod:`gfn_gym.agents.backward`.
    """

    policy: GFNPolicy
    backward: GivenBackward
    exploration: PoolExploration | None
    refused_arguments: ClassVar[dict[str, str]] = {}
    """Arguments of other algorithms that make no sense for this one, and why."""
    learnt_backward = False
    reward_exponent = 1.0
    """e, where R^e is learnt for the moment: see ``reward_annealing``."""
    on_policy: ClassVar[bool] = False
    """Whether only trajectories of the policy as it is can be learnt from."""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = with_presets(cls.__init__)  # type: ignore[method-assign]

    @with_presets
    def __init__(
        self,
        policy: str | type[Architecture],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-3,
        *,
        preset: str | None = None,
        n_envs: int | None = None,
        exploration_initial_eps: float = 0.0,
        exploration_final_eps: float = 0.0,
        exploration_fraction: float = 1.0,
        exploration_ladder: tuple[float, float] | None = None,
        replay_pool: int = 0,
        local_search: float = 0.0,
        pool_fraction: float = 1.0,
        reward_annealing: tuple[float, float] | None = None,
        max_grad_norm: float | None = None,
        _init_setup_model: bool = True,
        **settings: Any,
    ):
        size = 16 if n_envs is None else whole("n_envs", n_envs, least=1)
        whole("verbose", settings.get("verbose", 0), least=0)  # SB3 reads it at once
        if env is not None:
            env = as_vec_env(env, size)
            if n_envs is not None and env.num_envs != size:
                raise ValueError(
                    f"n_envs={n_envs}, but env holds {env.num_envs} environments already: leave "
                    "n_envs out, or make it of that size"
                )
            check_reads_back(env)
            policy = policy_of(env.dag) if policy == "auto" else policy
        elif policy == "auto":
            raise ValueError("env=None: give an environment, whose domain says what 'auto' is")
        if settings.get("policy_kwargs") is not None:
            settings["policy_kwargs"] = mapping("policy_kwargs", settings["policy_kwargs"])
        # SB3 gives every off-policy algorithm a tau; those of ours that have one have set it.
        settings.setdefault("tau", getattr(self, "tau", 1.0))
        super().__init__(
            architecture_of(policy),  # type: ignore[arg-type]
            env,  # type: ignore[arg-type]
            learning_rate,
            support_multi_env=True,
            sde_support=False,
            supported_action_spaces=(spaces.Discrete,),
            **settings,
        )
        self.preset = None if preset is None else str(preset)
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
        self.exploration_fraction = exploration_fraction
        self.exploration_ladder = exploration_ladder
        self.replay_pool, self.local_search = replay_pool, local_search
        self.pool_fraction = pool_fraction
        self.reward_annealing = reward_annealing
        self.max_grad_norm = max_grad_norm
        self.algorithm = type(self).__name__
        self.run = uuid.uuid4().hex
        self._metrics: dict[str, list[float]] = defaultdict(list)
        self._callback_states = CallbackStates()
        if isinstance(env, GFNVecEnv):
            self.mdp, self.observation = env.mdp, env.observer.name
        if _init_setup_model:
            self._setup_model()

    # ---- set-up: what a subclass says ---------------------------------------------------------

    @abstractmethod
    def _roles(self) -> Roles:
        """Return which networks the algorithm needs."""

    @abstractmethod
    def _make_buffer(self, generator: np.random.Generator) -> Any:
        """Return what is given every transition: ``add(states, actions, transition)``."""

    def _make_backward(self) -> GivenBackward:
        """Return how P_B is learnt; by default it is given."""
        return GivenBackward()

    def _check_arguments(self) -> None:
        """Raise an error that names an argument that cannot be."""
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            if isinstance(parameter.default, bool) and hasattr(self, name):
                flag(name, getattr(self, name))
        if self.seed is not None:
            whole("seed", self.seed, least=0, most=2**32 - 1)
        whole("stats_window_size", self._stats_window_size, least=1)
        whole("gradient_steps", self.gradient_steps)
        check_rate("learning_rate", self.learning_rate)
        for name in ("exploration_initial_eps", "exploration_final_eps", "exploration_fraction"):
            unit(name, getattr(self, name))
        number("exploration_fraction", self.exploration_fraction, above=0)
        check_annealing(self.reward_annealing, getattr(self, "planning_simulations", 0))
        exploration = self.replay_pool, self.local_search, self.pool_fraction
        check_exploration(*exploration, self.exploration_ladder)
        if self.max_grad_norm is not None and self.max_grad_norm != np.inf:
            number("max_grad_norm", self.max_grad_norm, above=0)
        if self.learnt_backward and self.mdp.backward_policy is not None:
            raise ValueError(
                "learnt_backward=True, but the environment has a backward policy of its own: make "
                "one without, or keep that"
            )

    # ---- set-up -------------------------------------------------------------------------------

    def _setup_model(self) -> None:
        if not hasattr(self, "mdp"):
            raise ValueError("env=None: give an environment; only load() does without")
        self._check_arguments()
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        policy_seed, replay_seed, pool_seed, search_seed = np.random.SeedSequence(self.seed).spawn(
            4
        )
        self.replay_buffer = self._make_buffer(np.random.default_rng(replay_seed))
        self.policy = GFNPolicy(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            dag=self.dag,
            architecture=cast(Any, self.policy_class),
            roles=self._roles(),
            shaped=self.mdp if self.mdp.is_shaped else None,
            observation=self.observation,
            **split_policy_kwargs(self.policy_kwargs),
        ).to(self.device)
        self.policy.generator = np.random.default_rng(policy_seed)
        self.backward = self._make_backward()
        for group in self.backward.parameter_groups():
            self.policy.optimizer.add_param_group({"params": group})
        self._convert_train_freq()
        train_freq: Any = self.train_freq
        whole("train_freq", train_freq.frequency, least=1)
        self.exploration = None
        if self.replay_pool:
            pool = ObjectPool(self.dag, self.replay_pool, np.random.default_rng(pool_seed))
            generator = np.random.default_rng(search_seed)
            self.exploration = PoolExploration(pool, self.local_search, generator)
        self._pass_on_exponent()
        self.exploration_schedule = LinearSchedule(
            self.exploration_initial_eps, self.exploration_final_eps, self.exploration_fraction
        )

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        return as_vec_env(env, 1)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Train on another environment with the same states and actions, e.g. another reward.

        What was collected is forgotten where its rewards were others.
        """
        before = self.mdp
        batch = as_vec_env(maybe_make_env(env, self.verbose), self.n_envs)
        check_same_structure(self.dag, batch.dag)
        if self.learnt_backward and batch.mdp.backward_policy is not None:
            raise ValueError(
                "the model learns P_B (learnt_backward=True), but the environment has a backward "
                "policy of its own: make one without"
            )
        super().set_env(batch, force_reset)
        self.mdp = batch.mdp
        self.replay_buffer.dag = self.policy.dag = self.dag  # which masks are derived from
        self.policy.observer = Observer(self.dag, self.observation)
        self.policy.shaped = self.mdp if self.mdp.is_shaped else None
        if not made_alike(before, self.mdp):
            self.replay_buffer.reset()
            self._collected = None
            if self.exploration is not None:
                self.exploration.reset()
        if self.exploration is not None:
            self.exploration.pool.dag = self.dag
            self.exploration.forget_searches()

    @property
    def dag(self) -> DAG:
        """The DAG whose objects the agent constructs; saved with the model."""
        return self.mdp.dag

    @property
    def backward_policy(self) -> BackwardPolicy | None:
        """P_B of the rewards, for evaluation: learnt, or the environment's; None: uniform.

        A learnt one is read at each call as it then stands: the P_B for which V(s0) is log Z.
        """
        return self.backward.policy(self.mdp)

    # ---- acting -------------------------------------------------------------------------------

    def _sample_action(
        self,
        learning_starts: int,
        action_noise: ActionNoise | None = None,
        n_envs: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Act by the current policy, also in the warm-up; with ε, uniformly over the legal.

        Each environment tosses its own coin.
        """
        simulator, generator = self.env.simulator, self.policy.generator
        with th.no_grad():
            logits = self._acting_logits(simulator.states, simulator.mask)
        if not np.isfinite(logits.max(axis=1)).all():  # else what is drawn may be illegal
            raise self._diverged("no finite Q is left")
        actions = self.policy.act(logits)
        epsilon: Any = self.exploration_schedule(self._current_progress_remaining)
        if self.exploration_ladder is not None:
            epsilon = np.maximum(epsilon, ladder_of(self.exploration_ladder, n_envs))
        if self.exploration_ladder is not None or epsilon > 0:
            explore = generator.random(len(actions)) < epsilon
            actions = np.where(explore, sample_legal_actions(simulator.mask, generator), actions)
        return actions, actions

    def _acting_logits(self, states: States, mask: Mask) -> NDArray[Any]:
        """The logits, (n, n_actions), by which the agent acts while it trains: softmax(·/λ)."""
        return self.policy.online.logits(*self.policy.tensors(states, mask)).cpu().numpy()

    # ---- a gradient step, and the log -----------------------------------------------------------

    def _step_optimizer(self, loss: th.Tensor) -> None:
        if not th.isfinite(loss):
            raise self._diverged(f"the loss is {loss.item()}")
        optimizer = self.policy.optimizer
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.max_grad_norm is not None:
            moved = [p for group in optimizer.param_groups for p in group["params"]]
            th.nn.utils.clip_grad_norm_(moved, self.max_grad_norm)
        optimizer.step()

    def _diverged(self, symptom: str) -> FloatingPointError:
        return FloatingPointError(
            f"{symptom} at update {self._n_updates}: training has diverged; "
            "lower learning_rate, or tau where there is one"
        )

    def dump_logs(self) -> None:
        """Write the log: SB3's entries, and the means of ours since the last time."""
        for name, values in self._metrics.items():
            self.logger.record(name, safe_mean(values))
        self._metrics.clear()
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record(
            "train/log_z", float(self.policy.log_flow(self.dag.initial_states(1))[0])
        )
        # SB3 records it at updates only, and a log resumed before the next would have none.
        rate = self.policy.optimizer.param_groups[0]["lr"]
        self.logger.record("train/learning_rate", rate)
        epsilon = self.exploration_schedule(self._current_progress_remaining)
        self.logger.record("rollout/exploration_rate", epsilon)
        self.logger.record("time/trajectories", self._episode_num)
        reward = slow_reward_of(self.dag)
        for name, value in (reward.progress() if reward is not None else {}).items():
            self.logger.record(f"reward/{name}", value)
        if self._collection is not None:
            self.logger.record("collect/repeated", self._collection.repeated)
        super().dump_logs()

    def _begin_anew(self) -> None:
        self.reward_exponent = exponent_at(self.reward_annealing, 0.0)
        if self.exploration is not None:
            self.exploration.forget_searches()

    def _before_collecting(self, progress: float) -> None:
        self.policy.at_progress(progress)
        if self.exploration is not None:
            self.exploration.is_over = progress >= self.pool_fraction < 1
        # It never falls, not even where a training goes on to a larger total.
        exponent = exponent_at(self.reward_annealing, progress)
        self.reward_exponent = max(self.reward_exponent, exponent)
        self._pass_on_exponent()

    def _pass_on_exponent(self) -> None:
        self.replay_buffer.reward_exponent = self.policy.reward_exponent = self.reward_exponent

    def _after_step(self, transition: Transition) -> None:
        if self.exploration is not None:
            self.exploration.after_step(
                self.env, transition, self._backward_mdp(), self.replay_buffer
            )

    def _replayed_from_pool(self, rebuilt: bool = False) -> list[Trajectory]:
        """What exploration replays since the last round; see :meth:`PoolExploration.replay`."""
        if self.exploration is None:
            return []
        return self.exploration.replay(self.mdp, self._backward_mdp(), rebuilt)

    def _backward_mdp(self) -> MDP:
        """The decision process with the P_B of the moment, by which objects are taken apart."""
        return MDP(self.dag, self.backward_policy) if self.backward.is_learnt else self.mdp

    def _learn_backward(self, edges: Iterable[BackwardEdges]) -> None:
        """Let P_B learn from what P_F has just drawn, if it learns so, and log it."""
        for name, value in self.backward.learn(edges, self._current_progress_remaining).items():
            if not np.isfinite(value):
                raise self._diverged(f"{name} is {value}")
            self._metrics[name].append(value)

    # ---- saving -------------------------------------------------------------------------------

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write everything that :meth:`resume` needs to go on as if nothing had happened.

        Call it between rollouts (as :class:`TrainingCheckpoint` does), when every step taken is
        stored. The file is written beside ``path`` and renamed into place; what was there is
        replaced.

        Raises:
            OSError: it could not be written; an earlier checkpoint at ``path`` is untouched.
            FloatingPointError: a weight is not finite; likewise.
        """
        write_checkpoint(self, path)

    @classmethod
    def resume(
        cls: type[Self],
        path: str | os.PathLike[str],
        device: th.device | str = "auto",
        *,
        trusted: bool = False,
    ) -> Self:
        """Load a checkpoint; ``.learn()`` then goes on to the original total.

        Pass the same callbacks to ``learn`` again: their states are taken from the checkpoint.

        Args:
            path: what :meth:`save_checkpoint` wrote.
            device: as in SB3.
            trusted: run the code that is in the file, as in :meth:`load`.

        Raises:
            ValueError: the file is not a checkpoint, is another algorithm's, is damaged, or holds
                code and is not trusted.
        """
        return read_checkpoint(cls, path, device, trusted)

    def save(self, path: Any, exclude: Any = None, include: Any = None) -> None:
        """Save a model to predict with, or to train on; as in SB3.

        What is data is written as data. Only what is your own code, such as a reward function, is
        pickled, in a part of its own; :meth:`load` then asks for ``trusted=True``.

        Args:
            path: of the file, to which ".zip" is added if it has no suffix, or an open file.
            exclude, include: names of attributes, besides those that are left out by default.

        Raises:
            OSError: it could not be written; a model at ``path`` is untouched.
        """
        write_model(self, path, exclude, include)

    @classmethod
    def load(
        cls: type[Self],
        path: Any,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        *,
        trusted: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Load a model. Without an environment it predicts, and trains on the saved DAG.

        Nothing in the file is run, unless it is trusted; see docs/security.md.

        Args:
            path: what :meth:`save` wrote.
            env: an environment to train on instead of the saved one. Where that has code in it,
                such as a reward function, this one's takes its place, and needs no trust.
            device, custom_objects, print_system_info, force_reset: as in SB3.
            trusted: run the code that is in the file: whoever wrote it can do as they like.
            kwargs: attributes to be changed.

        Raises:
            ValueError: the file is damaged, is another algorithm's, or holds code and is not
                trusted; or the environment has other states or actions than the model.
        """
        if "preset" in kwargs:
            raise ValueError("a saved model has its settings: preset is for new ones only")
        saved = read_model(path, cls, device, trusted, custom_objects, print_system_info, env)
        return make_model(cls, name_of(path), saved, env, device, force_reset, kwargs)

    def set_parameters(
        self, load_path_or_dict: Any, exact_match: bool = True, device: th.device | str = "auto"
    ) -> None:
        """As in SB3; nothing in a file is run.

        Raises:
            ValueError: the parameters are those of other networks, e.g. of another grid's; or the
                file is damaged.
        """
        if not isinstance(load_path_or_dict, dict):
            load_path_or_dict = read_parameters(load_path_or_dict, device)
        try:
            super().set_parameters(load_path_or_dict, exact_match, device)
        except RuntimeError as error:
            raise ValueError(
                f"the parameters do not fit a model of {self.dag!r}: {error}"
            ) from error

    def save_replay_buffer(self, path: Any) -> None:
        """As in SB3; it is data only, in a file that has ".zip" added if it has no suffix.

        Raises:
            OSError: it could not be written; a file at ``path`` is untouched.
        """
        write_replay_buffer(self.replay_buffer, path)

    def load_replay_buffer(
        self, path: Any, truncate_last_traj: bool = True, *, trusted: bool = False
    ) -> None:
        """As in SB3; nothing in a file is run, unless it is a pickle and trusted.

        Raises:
            ValueError: the buffer is of another kind, or its states, actions, size or settings are
                not the model's; the file is damaged, or is a pickle and not trusted.
        """
        self.replay_buffer = read_replay_buffer(path, self.replay_buffer, trusted, self.verbose)

    def _excluded_save_params(self) -> list[str]:
        ours = ["backward", "exploration", "_callback_states", "_resumed", "_metrics"]
        ours += ["_collection", "_collected"]
        return [*super()._excluded_save_params(), *ours]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer", *self.backward.saved()], []


def split_policy_kwargs(given: dict[str, Any]) -> dict[str, Any]:
    """Tell the optimizer's settings from those of the architecture, which are all the others."""
    names = ("optimizer_class", "optimizer_kwargs")
    ours: dict[str, Any] = {name: given[name] for name in names if name in given}
    return {**ours, "architecture_kwargs": {k: v for k, v in given.items() if k not in ours}}


def check_rate(name: str, rate: Any) -> None:
    """Raise unless a learning rate is a finite number above 0; schedules are not looked into."""
    if not callable(rate):
        number(name, rate, above=0)


def passed_up(parent: type, given: dict[str, Any]) -> dict[str, Any]:
    """Of a constructor's arguments, its ``locals()``, return those that ``parent`` takes.

    Where the parent hands some on (``**settings``), they are those of the class above it as well.
    """
    taken: set[str] = set()
    for cls in parent.__mro__:
        parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
        taken |= parameters.keys()
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return {name: value for name, value in given.items() if name in taken - {"self"}}
