"""The training loop of the soft Q-learning family, written once."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import load_from_zip_file
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

from gfn_gym.dag import DAG, Floats
from gfn_gym.mdp import Transition, sample_actions

from . import targets
from .buffers import TransitionBatch, TransitionBuffer
from .checkpoint import Resumable
from .policies import MlpPolicy, SoftQPolicy
from .progress import TrajectoryProgressBar
from .vec_env import GFNVecEnv, as_vec_env, check_same_structure

Self = TypeVar("Self", bound="SoftQAlgorithm")
EPISODE = TrainFrequencyUnit.EPISODE


class SoftQAlgorithm(Resumable, OffPolicyAlgorithm):
    """What SoftDQN and its kin share: acting, replay, the gradient step, counting, saving.

    A subclass writes :meth:`_td_target`, and :attr:`temperature` where λ is not 1. Arguments are
    explained in :class:`gfn_gym.agents.SoftDQN`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": MlpPolicy}
    policy: SoftQPolicy
    env: GFNVecEnv
    replay_buffer: TransitionBuffer
    temperature: float = 1.0

    def __init__(
        self,
        policy: str | type[SoftQPolicy],
        env: GymEnv | str | None,
        *,
        n_envs: int,
        learning_rate: float | Schedule,
        buffer_size: int,
        learning_starts: int | tuple[int, str],
        batch_size: int,
        tau: float,
        gamma: float,
        train_freq: int | tuple[int, str],
        gradient_steps: int,
        target_update_interval: int,
        average_share: float,
        dueling: bool,
        double: bool,
        huber: bool,
        leaf_weight: float,
        replay_alpha: float,
        replay_beta: float,
        replay_beta_final: float,
        importance_weights: bool,
        new_priority: str,
        exploration_initial_eps: float,
        exploration_final_eps: float,
        exploration_fraction: float,
        max_grad_norm: float | None,
        stats_window_size: int,
        tensorboard_log: str | None,
        policy_kwargs: dict[str, Any] | None,
        verbose: int,
        seed: int | None,
        device: th.device | str,
        _init_setup_model: bool,
    ):
        if env is not None:
            env = as_vec_env(env, n_envs)
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]
            learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,  # type: ignore[arg-type]
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            support_multi_env=True,
            sde_support=False,
            supported_action_spaces=(spaces.Discrete,),
        )
        self.target_update_interval = target_update_interval
        self.average_share = average_share
        self.dueling, self.double, self.huber = dueling, double, huber
        self.leaf_weight = leaf_weight
        self.replay_alpha = replay_alpha
        self.replay_beta, self.replay_beta_final = replay_beta, replay_beta_final
        self.importance_weights = importance_weights
        self.new_priority = new_priority
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
        self.exploration_fraction = exploration_fraction
        self.max_grad_norm = max_grad_norm
        self.algorithm = type(self).__name__  # saved, so that load() can refuse another's
        self._credit = 0  # steps or trajectories collected that no update has used yet
        self._total_trajectories: int | None = None
        self._metrics: dict[str, list[float]] = defaultdict(list)
        self._check_arguments()
        if isinstance(env, GFNVecEnv):
            self.mdp, self.observation = env.mdp, env.observer.name
        if _init_setup_model:
            self._setup_model()

    def _check_arguments(self) -> None:
        if self.gamma != 1:
            raise ValueError(
                f"gamma={self.gamma!r} must be 1: Theorem 1 of arXiv:2310.12934 holds for the "
                "undiscounted process only, any other discount samples another distribution"
            )
        positive = ("batch_size", "target_update_interval", "leaf_weight", "buffer_size")
        for name in (*positive, "max_grad_norm", "exploration_fraction"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value!r} must be above 0")
        if self.gradient_steps < -1:
            raise ValueError(f"gradient_steps={self.gradient_steps!r} must be at least -1")
        unit = ("tau", "replay_alpha", "replay_beta", "replay_beta_final", "exploration_fraction")
        if not 0 <= self.average_share < 1:
            raise ValueError(f"average_share={self.average_share!r} must lie in [0, 1)")
        for name in (*unit, "exploration_initial_eps", "exploration_final_eps"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must lie in [0, 1]")
        if self.new_priority not in ("td_error", "max"):
            raise ValueError(f"new_priority={self.new_priority!r} must be 'td_error' or 'max'")

    # ---- set-up -------------------------------------------------------------------------------

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        policy_seed, replay_seed = np.random.SeedSequence(self.seed).spawn(2)
        self.replay_buffer = TransitionBuffer(
            self.dag,
            self.buffer_size,
            self.n_envs,
            self.device,
            self.replay_alpha,
            np.random.default_rng(replay_seed),
        )
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            dag=self.dag,
            observation=self.observation,
            dueling=self.dueling,
            temperature=self.temperature,
            averaged=self.average_share > 0,
            **self.policy_kwargs,
        )
        self.policy = self.policy.to(self.device)
        self.policy.generator = np.random.default_rng(policy_seed)
        self._convert_train_freq()
        assert isinstance(self.train_freq, TrainFreq)
        if self.train_freq.frequency < 1:
            raise ValueError(f"train_freq={self.train_freq.frequency!r} must be at least 1")
        self._convert_learning_starts()
        self.exploration_schedule = LinearSchedule(
            self.exploration_initial_eps, self.exploration_final_eps, self.exploration_fraction
        )

    def _convert_learning_starts(self) -> None:
        starts: Any = self.learning_starts
        amount, unit = starts if isinstance(starts, (tuple, list)) else (starts, "step")
        if unit not in ("step", "episode") or amount < 0:
            raise ValueError(
                f"learning_starts={starts!r} must be a number of steps or (number, 'episode')"
            )
        self._warm_up = (int(amount), unit)

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        return as_vec_env(env, 1)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Train on another environment with the same states and actions, e.g. another reward."""
        batch = as_vec_env(maybe_make_env(env, self.verbose), self.n_envs)
        check_same_structure(self.dag, batch.dag)
        super().set_env(batch, force_reset)
        self.mdp = batch.mdp

    @property
    def dag(self) -> DAG:
        """The DAG whose objects the agent constructs; saved with the model."""
        return self.mdp.dag

    @property
    def q_net(self) -> th.nn.Module:
        """The online network: (states, mask) → Q."""
        return self.policy.q_net

    @property
    def q_net_target(self) -> th.nn.Module:
        """The target network."""
        return self.policy.q_net_target

    # ---- the learning rule --------------------------------------------------------------------

    @abstractmethod
    def _td_target(self, batch: TransitionBatch) -> th.Tensor:
        """Return what Q(s, a) of each transition is regressed on, (n,); without gradients."""

    def _next_value(self, batch: TransitionBatch) -> th.Tensor:
        """V(s') by the target network, (n,); arbitrary where the episode is over."""
        q_next = self.q_net_target(batch.next_states, batch.next_masks)
        if not self.double:
            return targets.soft_value(q_next, self.temperature)
        q_online = self.q_net(batch.next_states, batch.next_masks)
        return targets.double_soft_value(q_online, q_next, self.temperature)

    def _td_error(self, batch: TransitionBatch) -> th.Tensor:
        """Q(s, a) minus its target, (n,), with gradients into Q only."""
        with th.no_grad():
            target = self._td_target(batch)
        q = self.q_net(batch.states, batch.masks)
        return q.gather(1, batch.actions[:, None]).squeeze(1) - target

    def train(self, gradient_steps: int, batch_size: int = 256) -> None:
        """Take gradient steps on batches from the replay buffer."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        beta = self._beta()
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(batch_size, beta=beta)
            td_error = self._td_error(batch)
            leaf = th.where(batch.dones, self.leaf_weight, 1.0)
            loss = (batch.weights * leaf * targets.td_loss(td_error, self.huber)).mean()
            self._step_optimizer(loss)
            priorities = (leaf * td_error.detach().abs()).double().cpu().numpy()
            self.replay_buffer.update_priorities(batch.indices, priorities)
            self._n_updates += 1
            self._update_copies()
            self._metrics["train/loss"].append(loss.item())
            self._metrics["train/td_error"].append(float(priorities.mean()))

    def _step_optimizer(self, loss: th.Tensor) -> None:
        if not th.isfinite(loss):
            raise self._diverged(f"the loss is {loss.item()}")
        optimizer = self.policy.optimizer
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.max_grad_norm is not None:
            th.nn.utils.clip_grad_norm_(self.q_net.parameters(), self.max_grad_norm)
        optimizer.step()

    def _diverged(self, symptom: str) -> FloatingPointError:
        return FloatingPointError(
            f"{symptom} at update {self._n_updates}: training has diverged; "
            "lower learning_rate or tau"
        )

    @th.no_grad()
    def _update_copies(self) -> None:
        """Move the target network, and the averaged one, towards the online network."""
        online: list[th.Tensor] = list(self.q_net.parameters())
        if self._n_updates % self.target_update_interval == 0:
            th._foreach_lerp_(list(self.q_net_target.parameters()), online, self.tau)
        average = self.policy.q_net_average
        if average is not None:
            window = max(1.0, self.average_share * self._n_updates)
            th._foreach_lerp_(list(average.parameters()), online, 1 / window)

    def _beta(self) -> float:
        """The exponent of the importance weights, annealed over the training; 0 turns them off."""
        if not self.importance_weights:
            return 0.0
        done = 1.0 - self._current_progress_remaining
        return self.replay_beta + done * (self.replay_beta_final - self.replay_beta)

    # ---- collecting ---------------------------------------------------------------------------

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
        self._restore_callbacks(callback)
        callback.on_training_start(locals(), globals())
        assert isinstance(self.train_freq, TrainFreq)
        while self._progress() < 1:
            rollout = self.collect_rollouts(
                self.env, callback, self.train_freq, self.replay_buffer, log_interval=log_interval
            )
            if not rollout.continue_training:
                break
            if self._warmed_up():
                steps = self.gradient_steps
                self.train(steps if steps >= 0 else rollout.episode_timesteps, self.batch_size)
        callback.on_training_end()
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
            self.num_timesteps = self._episode_num = self._credit = 0
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
        amount, unit = self._warm_up
        return (self._episode_num if unit == "episode" else self.num_timesteps) >= amount

    def collect_rollouts(  # type: ignore[override]
        self,
        env: GFNVecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: TransitionBuffer,
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
            priorities = self._new_priorities(states, actions, transition)
            replay_buffer.add(states, actions, transition, priorities)
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
            q = self.policy.q_values(simulator.states, simulator.mask, learnt=False).cpu().numpy()
        if not np.isfinite(q.max(axis=1)).all():  # else what is drawn may be illegal
            raise self._diverged("no finite Q is left")
        actions = self.policy.act(q)
        epsilon = self.exploration_schedule(self._current_progress_remaining)
        if epsilon > 0:
            explore = generator.random(len(actions)) < epsilon
            actions = np.where(explore, sample_actions(simulator.mask, generator), actions)
        return actions, actions

    def _new_priorities(
        self, states: np.ndarray, actions: np.ndarray, transition: Transition
    ) -> Floats | None:
        if self.replay_alpha == 0 or self.new_priority == "max":
            return None
        with th.no_grad():
            batch = self.replay_buffer.batch_of(states, actions, transition)
            td_error = self._td_error(batch).abs().double().cpu().numpy()
        return np.where(transition.done, self.leaf_weight, 1.0) * td_error

    def _count(self, dones: np.ndarray, infos: list[dict[str, Any]]) -> int:
        """Count steps and finished trajectories, and keep the latter's statistics."""
        self.num_timesteps += len(dones)
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

    def dump_logs(self) -> None:
        """Write the log: SB3's entries, and the means of ours since the last time."""
        for name, values in self._metrics.items():
            self.logger.record(name, safe_mean(values))
        self._metrics.clear()
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record(
            "train/log_z", float(self.policy.log_flow(self.dag.initial_states(1))[0])
        )
        epsilon = self.exploration_schedule(self._current_progress_remaining)
        self.logger.record("rollout/exploration_rate", epsilon)
        self.logger.record("time/trajectories", self._episode_num)
        super().dump_logs()

    # ---- saving -------------------------------------------------------------------------------

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
        data, _, _ = load_from_zip_file(path, device=device, custom_objects=custom_objects)
        rewind(path)
        if data is None or data.get("algorithm") != cls.__name__:
            saved = "another library" if data is None else data.get("algorithm", "another library")
            raise ValueError(f"{path} was saved by {saved}, not by {cls.__name__}: load it there")
        if env is not None:
            env = as_vec_env(env, data["n_envs"])
            assert isinstance(env, GFNVecEnv)
            check_same_structure(data["mdp"].dag, env.dag)
            kwargs = {"mdp": env.mdp, **kwargs}
        return super().load(
            path, env, device, custom_objects, print_system_info, force_reset, **kwargs
        )


def rewind(path: Any) -> None:
    """Let a file object be read again from its start; a path needs nothing."""
    if hasattr(path, "seek"):
        path.seek(0)
