"""What the agents share beside the training loop: set-up, acting, a gradient step, the log."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import LinearSchedule, safe_mean

from gfn_gym.dag import Mask, States
from gfn_gym.mdp import MDP, BackwardPolicy, sample_legal_actions
from gfn_gym.observation import Observer

from .algorithm import GFNAlgorithm
from .block_tree import BlockTreePolicy, SmallBlockTreePolicy
from .policies import MlpPolicy, SoftQPolicy
from .transformer import TransformerPolicy
from .vec_env import GFNVecEnv, alike, as_vec_env, check_reads_back


class GFNAgent(GFNAlgorithm):
    """An algorithm that acts by a :class:`SoftQPolicy`.

    A subclass says what its policy consists of (:meth:`_policy_parts`), what it remembers
    (:meth:`_make_buffer`), which arguments are wrong (:meth:`_check_arguments`), and learns.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "TransformerPolicy": TransformerPolicy,
        "BlockTreePolicy": BlockTreePolicy,
        "SmallBlockTreePolicy": SmallBlockTreePolicy,
    }
    policy_base: ClassVar[type[SoftQPolicy]] = SoftQPolicy
    """What a policy given as a class must be a subclass of."""
    policy: SoftQPolicy
    learnt_backward = False

    def __init__(
        self,
        policy: str | type[SoftQPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule,
        *,
        n_envs: int,
        exploration_initial_eps: float,
        exploration_final_eps: float,
        exploration_fraction: float,
        max_grad_norm: float | None,
        **kwargs: Any,
    ):
        if not isinstance(n_envs, (int, np.integer)) or n_envs < 1:
            raise ValueError(f"n_envs={n_envs!r} must be a whole number, at least 1")
        if env is not None:
            env = as_vec_env(env, n_envs)
            check_reads_back(env)
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]
            learning_rate,
            support_multi_env=True,
            sde_support=False,
            supported_action_spaces=(spaces.Discrete,),
            **kwargs,
        )
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
        self.exploration_fraction = exploration_fraction
        self.max_grad_norm = max_grad_norm
        self.algorithm = type(self).__name__
        self._metrics: dict[str, list[float]] = defaultdict(list)
        if isinstance(env, GFNVecEnv):
            self.mdp, self.observation = env.mdp, env.observer.name

    # ---- set-up -------------------------------------------------------------------------------

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            raise ValueError(
                f"policy={policy_name!r} is not one of {sorted(self.policy_aliases)}; or give a "
                f"subclass of {self.policy_base.__name__}"
            )
        return self.policy_aliases[policy_name]

    @abstractmethod
    def _policy_parts(self) -> dict[str, Any]:
        """Return the arguments of :class:`SoftQPolicy` that this algorithm decides."""

    @abstractmethod
    def _make_buffer(self, generator: np.random.Generator) -> Any:
        """Return what is given every transition: ``add(states, actions, transition)``."""

    def _check_arguments(self) -> None:
        """Raise a ValueError that names an argument that cannot be."""
        self._require_whole("gradient_steps")
        self._require_rate("learning_rate")
        self._require_positive("max_grad_norm", "exploration_fraction")
        self._require_unit(
            "exploration_fraction", "exploration_initial_eps", "exploration_final_eps"
        )

    def _setup_model(self) -> None:
        if not hasattr(self, "mdp"):
            raise ValueError("env=None: give an environment; only load() does without")
        if not issubclass(self.policy_class, self.policy_base):
            raise TypeError(
                f"policy={self.policy_class.__name__} is no subclass of "
                f"{self.policy_base.__name__}, which {type(self).__name__} needs: choose one of "
                f"{sorted(self.policy_aliases)} by its name"
            )
        self._check_arguments()
        self._check_backward(self.mdp)
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        policy_seed, replay_seed = np.random.SeedSequence(self.seed).spawn(2)
        self.replay_buffer = self._make_buffer(np.random.default_rng(replay_seed))
        self.policy = self.policy_class(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            dag=self.dag,
            observation=self.observation,
            **self._policy_parts(),
            **self.policy_kwargs,
        )
        self.policy = self.policy.to(self.device)
        self.policy.generator = np.random.default_rng(policy_seed)
        self._convert_train_freq()
        train_freq: Any = self.train_freq
        if train_freq.frequency < 1:
            raise ValueError(f"train_freq={train_freq.frequency!r} must be at least 1")
        self.exploration_schedule = LinearSchedule(
            self.exploration_initial_eps, self.exploration_final_eps, self.exploration_fraction
        )

    @property
    def backward_policy(self) -> BackwardPolicy | None:
        """P_B of the rewards, for evaluation: the environment's; None: uniform."""
        return self.mdp.backward_policy

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """As in GFNAlgorithm. What was collected is forgotten where its rewards were others."""
        before = self.mdp
        batch = as_vec_env(maybe_make_env(env, self.verbose), self.n_envs)
        self._check_backward(batch.mdp)
        super().set_env(batch, force_reset)
        self.replay_buffer.dag = self.policy.dag = self.dag  # of which masks are derived
        self.policy.observer = Observer(self.dag, self.observation)
        if not alike(before, self.mdp):
            self.replay_buffer.reset()

    def _check_backward(self, mdp: MDP) -> None:
        if self.learnt_backward and mdp.backward_policy is not None:
            raise ValueError(
                "learnt_backward=True, but the environment has a backward policy of its own: make "
                "one without, or keep that"
            )

    def _require_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value!r} must be above 0")

    def _require_whole(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)):
                raise ValueError(f"{name}={value!r} must be a whole number")

    def _require_rate(self, *names: str) -> None:
        """Learning rates; schedules are not looked into."""
        for name in names:
            value = getattr(self, name)
            if not callable(value) and not 0 < value < np.inf:
                raise ValueError(f"{name}={value!r} must be above 0, and finite")

    def _require_unit(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must lie in [0, 1]")

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
        epsilon = self.exploration_schedule(self._current_progress_remaining)
        if epsilon > 0:
            explore = generator.random(len(actions)) < epsilon
            actions = np.where(explore, sample_legal_actions(simulator.mask, generator), actions)
        return actions, actions

    def _acting_logits(self, states: States, mask: Mask) -> NDArray[Any]:
        """What the policy that acts while training is the softmax(·/λ) of, (n, n_actions)."""
        return self.policy.logits(states, mask, learnt=False).cpu().numpy()

    # ---- learning -----------------------------------------------------------------------------

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
