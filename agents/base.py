"""Stable-Baselines3 meets the native batch: set-up, learning, counting in trajectories, saving."""

from __future__ import annotations

import inspect
import os
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import (
    GymEnv,
    MaybeCallback,
    RolloutReturn,
    Schedule,
    TrainFreq,
    TrainFrequencyUnit,
)
from stable_baselines3.common.utils import LinearSchedule, safe_mean
from stable_baselines3.common.vec_env import VecEnv

from gfn_gym.arguments import number, unit, whole
from gfn_gym.dag import DAG, Mask, States
from gfn_gym.mdp import MDP, BackwardPolicy, sample_actions
from gfn_gym.observation import Observer

from .architectures import Architecture, architecture_of
from .backward import BackwardEdges, GivenBackward
from .policy import GFNPolicy, Roles
from .presets import policy_of, with_presets
from .training.callback_states import CallbackStates
from .training.checkpoint import read_checkpoint, write_checkpoint
from .training.frequency import parse_frequency
from .training.progress_bar import TrajectoryProgressBar
from .training.saving import check_saved_model, read_replay_buffer
from .vec_env import GFNVecEnv, as_vec_env, check_reads_back, check_same_structure, made_alike

Self = TypeVar("Self", bound="GFNAlgorithm")
EPISODE = TrainFrequencyUnit.EPISODE


class GFNAlgorithm(OffPolicyAlgorithm):
    """An SB3 algorithm on the native batch of a DAG, measured in steps or in trajectories.

    A subclass says which networks it needs (:meth:`_roles`), what it remembers
    (:meth:`_make_buffer`), how P_B is learnt, if at all (:meth:`_make_backward`), which arguments
    are wrong (:meth:`_check_arguments`), and learns (:meth:`train`). Its constructor lists every
    argument that it takes, each with a default, sets its own as attributes and passes the others
    up; ``preset=`` then works without more ado.

    Args:
        policy: "auto" for the domain's, "MlpPolicy", "TransformerPolicy", "BlockTreePolicy",
            "SmallBlockTreePolicy", or a subclass of :class:`Architecture`.
        env: an environment id, a GFN environment, or a VecEnv of them.
        learning_rate: a number, or a function of the progress that remains, from 1 to 0.
        preset: the name of settings that were registered for this environment, or None.
        n_envs: constructions stepped together, where ``env`` is not a VecEnv already.
        exploration_initial_eps, exploration_final_eps, exploration_fraction: ε, the chance of a
            uniform legal action, at the start, after that share of the training, and linear
            between.
        max_grad_norm: clip the gradient's norm; None: don't.
        settings: of SB3's ``OffPolicyAlgorithm``.

    Attributes:
        mdp: the decision process, saved with the model.
        observation: the form of the observations.
        algorithm: the class's name, saved, so that :meth:`load` can refuse another's file.
        policy: a :class:`GFNPolicy`.
        backward: how P_B is learnt: a component, see :mod:`gfn_gym.agents.backward`.
    """

    env: GFNVecEnv
    policy: GFNPolicy
    replay_buffer: Any
    mdp: MDP
    observation: str
    backward: GivenBackward
    learnt_backward = False
    _resumed = False  # learn() is to go on to the original total
    _credit = 0  # steps or trajectories collected that no update has used yet
    _fresh = 0  # transitions collected since the last round of updates was due
    _total_trajectories: int | None = None

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = with_presets(cls.__init__)  # type: ignore[method-assign]

    def __init__(
        self,
        policy: str | type[Architecture],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-3,
        *,
        preset: str | None = None,
        n_envs: int = 16,
        exploration_initial_eps: float = 0.0,
        exploration_final_eps: float = 0.0,
        exploration_fraction: float = 1.0,
        max_grad_norm: float | None = None,
        _init_setup_model: bool = True,
        **settings: Any,
    ):
        n_envs = whole("n_envs", n_envs, least=1)
        if env is not None:
            env = as_vec_env(env, n_envs)
            check_reads_back(env)
            policy = policy_of(env.dag) if policy == "auto" else policy
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
        self.preset = preset
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
        self.exploration_fraction = exploration_fraction
        self.max_grad_norm = max_grad_norm
        self.algorithm = type(self).__name__
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
        whole("gradient_steps", self.gradient_steps)
        check_rate("learning_rate", self.learning_rate)
        for name in ("exploration_initial_eps", "exploration_final_eps", "exploration_fraction"):
            unit(name, getattr(self, name))
        number("exploration_fraction", self.exploration_fraction, above=0)
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
        policy_seed, replay_seed = np.random.SeedSequence(self.seed).spawn(2)
        self.replay_buffer = self._make_buffer(np.random.default_rng(replay_seed))
        self.policy = GFNPolicy(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            dag=self.dag,
            architecture=cast(Any, self.policy_class),
            roles=self._roles(),
            observation=self.observation,
            **self.policy_kwargs,
        ).to(self.device)
        self.policy.generator = np.random.default_rng(policy_seed)
        self.backward = self._make_backward()
        for group in self.backward.parameter_groups():
            self.policy.optimizer.add_param_group({"params": group})
        self._convert_train_freq()
        train_freq: Any = self.train_freq
        whole("train_freq", train_freq.frequency, least=1)
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
        if not made_alike(before, self.mdp):
            self.replay_buffer.reset()

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

    # ---- learning -----------------------------------------------------------------------------

    def learn(
        self: Self,
        total_timesteps: int | None = None,
        callback: MaybeCallback = None,
        log_interval: int = 1000,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        *,
        total_trajectories: int | None = None,
    ) -> Self:
        """Train for a number of environment steps or of trajectories; schedules run on it.

        Args:
            total_timesteps: transitions to collect, a lower bound as in SB3.
            callback: as in SB3.
            log_interval: episodes between two writings of the log.
            tb_log_name: name of the run; the class's name by default.
            reset_num_timesteps: start counting, and the episodes, anew.
            progress_bar: show one (needs tqdm and rich).
            total_trajectories: finished trajectories to collect, instead of ``total_timesteps``.

        A model from :meth:`resume` takes neither and goes on to its original total.

        Raises:
            ValueError: not exactly one total is given.
        """
        reset_num_timesteps = self._set_horizon(
            total_timesteps, total_trajectories, reset_num_timesteps
        )
        name = tb_log_name or type(self).__name__
        _, callback = self._setup_learn(0, callback, reset_num_timesteps, name, progress_bar)
        total_timesteps = self._total_timesteps  # SB3's progress bar reads it from the locals
        self._callback_states.attach(callback, restore=self._resumed)
        self._resumed = False
        callback.on_training_start(locals(), globals())
        train_freq = cast(TrainFreq, self.train_freq)
        while self._progress() < 1:
            rollout = self.collect_rollouts(
                self.env, callback, train_freq, self.replay_buffer, log_interval=log_interval
            )
            if not rollout.continue_training:
                break
            if self._warmed_up():
                steps = self.gradient_steps
                self.train(steps if steps >= 0 else self._fresh, self.batch_size)
            self._fresh = 0
        callback.on_training_end()
        self._callback_states.release()
        return self

    def _set_horizon(self, timesteps: int | None, trajectories: int | None, reset: bool) -> bool:
        """Fix the totals before SB3's set-up; return whether to start counting anew."""
        if self._resumed:
            if timesteps is not None or trajectories is not None:
                raise ValueError(
                    "a resumed model goes on to its original total: call learn() without totals "
                    "(after that, learn(…, reset_num_timesteps=False) adds to it)"
                )
            return False
        if (timesteps is None) == (trajectories is None):
            raise ValueError(
                "give exactly one of total_timesteps and total_trajectories, not "
                f"{timesteps!r} and {trajectories!r}"
            )
        total = timesteps if timesteps is not None else trajectories
        if total is None or total <= 0:
            raise ValueError(f"the total to train for must be above 0, not {total!r}")
        if reset:
            self.num_timesteps = self._episode_num = self._credit = self._fresh = 0
        self._total_timesteps = self.num_timesteps + (timesteps or 0)
        self._total_trajectories = (
            None if trajectories is None else self._episode_num + trajectories
        )
        return reset

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if self.env is None:
            self.env = GFNVecEnv(self.mdp, self.n_envs, self.observation)
        horizon = self._total_timesteps
        result = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        self._total_timesteps = horizon
        self._update_current_progress_remaining(self.num_timesteps, horizon)
        return result

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        if progress_bar and self._total_trajectories is not None:
            bar = TrajectoryProgressBar(self._total_trajectories)
            given = super()._init_callback(callback)
            both = CallbackList([given, bar])
            both.init_callback(self)
            return both
        return super()._init_callback(callback, progress_bar)

    def _progress(self) -> float:
        """The share of the training that is done."""
        if self._total_trajectories is not None:
            return self._episode_num / self._total_trajectories
        return self.num_timesteps / self._total_timesteps

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        self._current_progress_remaining = max(0.0, 1.0 - self._progress())

    def _warmed_up(self) -> bool:
        amount, unit = parse_frequency(self.learning_starts, "learning_starts", least=0)
        return (self._episode_num if unit == "episode" else self.num_timesteps) >= amount

    # ---- collecting ---------------------------------------------------------------------------

    def collect_rollouts(  # type: ignore[override]
        self,
        env: GFNVecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: Any,
        action_noise: ActionNoise | None = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
    ) -> RolloutReturn:
        """Step until one update is due; what is over stays as credit for the next.

        With ``train_freq=(16, "episode")`` an update is due per 16 finished trajectories of any
        of the environments.
        """
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        steps, episodes = 0, 0
        while self._credit < train_freq.frequency and self._progress() < 1:
            states = env.simulator.states
            actions, _ = self._sample_action(learning_starts, n_envs=env.num_envs)
            transition, infos = env.step_states(actions)
            rewards, dones = transition.rewards, transition.done
            replay_buffer.add(states, actions, transition)
            finished = self._count(dones, infos)
            steps, episodes = steps + 1, episodes + finished
            self._credit += finished if train_freq.unit == EPISODE else 1
            self._log_if_due(finished, log_interval)
            callback.update_locals(locals())
            if not callback.on_step():
                return RolloutReturn(steps * env.num_envs, episodes, continue_training=False)
        due = self._credit >= train_freq.frequency  # else the training is over
        if due:
            self._credit -= train_freq.frequency
        callback.on_rollout_end()
        return RolloutReturn(steps * env.num_envs, episodes, continue_training=due)

    def _count(self, dones: np.ndarray, infos: list[dict[str, Any]]) -> int:
        """Count steps and finished trajectories, and keep the latter's statistics."""
        self.num_timesteps += len(dones)
        self._fresh += len(dones)
        rows = np.flatnonzero(dones)
        self._episode_num += len(rows)
        assert self.ep_info_buffer is not None
        self.ep_info_buffer.extend(infos[row]["episode"] for row in rows)
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        return len(rows)

    def _log_if_due(self, finished: int, log_interval: int | None) -> None:
        if log_interval and self._episode_num // log_interval > (
            (self._episode_num - finished) // log_interval
        ):
            self.dump_logs()

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
        epsilon = self.exploration_schedule(self._current_progress_remaining)
        if epsilon > 0:
            explore = generator.random(len(actions)) < epsilon
            actions = np.where(explore, sample_actions(simulator.mask, generator), actions)
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
        super().dump_logs()

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
        stored. The file is written beside ``path`` and renamed into place. A checkpoint is a
        pickle as SB3's models are: open only your own.

        Raises:
            OSError: it could not be written; an earlier checkpoint at ``path`` is untouched.
        """
        write_checkpoint(self, path)

    @classmethod
    def resume(
        cls: type[Self], path: str | os.PathLike[str], device: th.device | str = "auto"
    ) -> Self:
        """Load a checkpoint; ``.learn()`` then goes on to the original total.

        Pass the same callbacks to ``learn`` again: their states are taken from the checkpoint.

        Raises:
            ValueError: the file is not a checkpoint, or one of another algorithm.
        """
        return read_checkpoint(cls, path, device)

    @classmethod
    def load(
        cls: type[Self],
        path: Any,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Load a model. Without an environment it predicts, and trains on the saved DAG.

        Raises:
            ValueError: the environment has other states or actions than the model, or another
                algorithm saved it.
        """
        saved = check_saved_model(path, cls.__name__, device, custom_objects)
        if "preset" in kwargs:
            raise ValueError("a saved model has its settings: preset is for new ones only")
        if env is not None:
            batch = as_vec_env(env, saved["n_envs"])
            check_same_structure(saved["mdp"].dag, batch.dag)
            env, kwargs = batch, {"mdp": batch.mdp, **kwargs}
        return super().load(
            path, env, device, custom_objects, print_system_info, force_reset, **kwargs
        )

    def set_parameters(
        self, load_path_or_dict: Any, exact_match: bool = True, device: th.device | str = "auto"
    ) -> None:
        """As in SB3.

        Raises:
            ValueError: the parameters are those of other networks, e.g. of another grid's.
        """
        try:
            super().set_parameters(load_path_or_dict, exact_match, device)
        except RuntimeError as error:
            raise ValueError(
                f"the parameters do not fit a model of {self.dag!r}: {error}"
            ) from error

    def load_replay_buffer(self, path: Any, truncate_last_traj: bool = True) -> None:
        """As in SB3.

        Raises:
            ValueError: the buffer is of another kind, or its states, actions, size or settings are
                not the model's.
        """
        self.replay_buffer = read_replay_buffer(path, self.replay_buffer, self.verbose)

    def _excluded_save_params(self) -> list[str]:
        ours = ["backward", "_callback_states", "_resumed", "_metrics"]
        return [*super()._excluded_save_params(), *ours]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer", *self.backward.saved()], []


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
