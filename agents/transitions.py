"""Learning from replayed transitions, written once: an algorithm is its TD error."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from gfn_gym.arguments import choice, number, unit, whole
from gfn_gym.graph import batches

from . import targets
from .architectures import Architecture
from .base import GFNAlgorithm, passed_up
from .networks import move_towards
from .replay.trajectory import transitions_of
from .replay.transition_buffer import TransitionBatch, TransitionBuffer
from .training.frequency import parse_frequency


class TransitionAlgorithm(GFNAlgorithm):
    """What agents share that learn from a replay of transitions: priorities, the gradient step.

    A subclass writes :meth:`_td_error`, and :meth:`_loss` where more than that is minimized.
    Arguments are explained in :class:`gfn_gym.agents.SoftDQN`.
    """

    replay_buffer: TransitionBuffer

    def __init__(
        self,
        policy: str | type[Architecture],
        env: GymEnv | str | None,
        *,
        preset: str | None = None,
        n_envs: int | None = None,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 100_000,
        learning_starts: int | tuple[int, str] = (256, "episode"),
        batch_size: int = 256,
        gamma: float = 1.0,
        train_freq: int | tuple[int, str] = (16, "episode"),
        gradient_steps: int = 1,
        average_share: float = 0.0,
        dueling: bool = False,
        huber: bool = True,
        leaf_weight: float = 1.0,
        replay_alpha: float = 0.5,
        replay_beta: float = 0.0,
        replay_beta_final: float = 1.0,
        importance_weights: bool = False,
        new_priority: str = "td_error",
        exploration_initial_eps: float = 0.0,
        exploration_final_eps: float = 0.0,
        exploration_fraction: float = 1.0,
        exploration_ladder: tuple[float, float] | None = None,
        replay_pool: int = 0,
        local_search: float = 0.0,
        pool_fraction: float = 1.0,
        reward_annealing: tuple[float, float] | None = None,
        max_grad_norm: float | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ):
        self.average_share, self.dueling, self.huber = average_share, dueling, huber
        self.leaf_weight = leaf_weight
        self.replay_alpha = replay_alpha
        self.replay_beta, self.replay_beta_final = replay_beta, replay_beta_final
        self.importance_weights = importance_weights
        self.new_priority = new_priority
        super().__init__(**passed_up(GFNAlgorithm, locals()))

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if number("gamma", self.gamma) != 1:
            raise ValueError(
                f"gamma={self.gamma!r} must be 1: Theorem 1 of arXiv:2310.12934 holds for the "
                "undiscounted process only, any other discount samples another distribution"
            )
        whole("batch_size", self.batch_size, least=1)
        whole("buffer_size", self.buffer_size, least=1)
        whole("gradient_steps", self.gradient_steps, least=-1)
        parse_frequency(self.learning_starts, "learning_starts", least=0)
        number("leaf_weight", self.leaf_weight, above=0)
        number("average_share", self.average_share, least=0, below=1)
        for name in ("replay_alpha", "replay_beta", "replay_beta_final"):
            unit(name, getattr(self, name))
        choice("new_priority", self.new_priority, ("td_error", "max"))

    def _make_buffer(self, generator: np.random.Generator) -> TransitionBuffer:
        return TransitionBuffer(
            self.dag, self.buffer_size, self.n_envs, self.device, self.replay_alpha, generator
        )

    def _setup_model(self) -> None:
        super()._setup_model()
        self.replay_buffer.backward_net = self.backward.reward_network

    # ---- the learning rule --------------------------------------------------------------------

    @abstractmethod
    def _td_error(self, batch: TransitionBatch) -> th.Tensor:
        """Return what is to become 0 for each transition, (n,), with gradients."""

    def _loss(self, batch: TransitionBatch) -> tuple[th.Tensor, th.Tensor]:
        """Return the loss of a batch, a scalar, and its TD errors, (n,) without gradients."""
        td_error = self._td_error(batch)
        losses = targets.td_loss(td_error, self.huber)
        return self._weighted_mean(batch, losses), td_error.detach()

    def _weighted_mean(self, batch: TransitionBatch, losses: th.Tensor) -> th.Tensor:
        """The mean of the transitions' losses (n,) under importance and leaf weights."""
        return (batch.weights * self._leaf_weights(batch) * losses).mean()

    def _leaf_weights(self, batch: TransitionBatch) -> th.Tensor:
        """``leaf_weight`` where a transition ends an episode, else 1; (n,)."""
        return th.where(batch.dones, self.leaf_weight, 1.0)

    def train(self, gradient_steps: int, batch_size: int = 256) -> None:
        """Take gradient steps on batches from the replay buffer."""
        if not self.replay_buffer.size():
            return  # what was collected is not saved with a model, nor kept for another reward
        for trajectory in self._replayed_from_pool(rebuilt=True):
            self.replay_buffer.extend(*transitions_of(trajectory))
        new = self.replay_buffer.take_new()
        if self.backward.is_learnt:
            self._learn_backward(self.replay_buffer.edges_at(new[p]) for p in batches(len(new)))
        if self.new_priority == "td_error" and self.replay_alpha > 0:
            self._set_first_priorities(new)
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        beta = self._beta()
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(batch_size, beta=beta)
            loss, td_error = self._loss(batch)
            self._step_optimizer(loss)
            self._set_priorities(batch, td_error)
            self._n_updates += 1
            self._update_copies()
            self._metrics["train/loss"].append(loss.item())
            self._metrics["train/td_error"].append(td_error.abs().mean().item())

    def _set_priorities(self, batch: TransitionBatch, td_error: th.Tensor) -> None:
        """Give transitions their priorities, |TD error| times the leaf weight.

        arXiv:1511.05952's, with the leaf weight of arXiv:2310.12934, whose code for bit sequences
        takes the Huber loss in place of |TD error|.
        """
        priorities = (self._leaf_weights(batch) * td_error.abs()).double().cpu().numpy()
        self.replay_buffer.update_priorities(batch.indices, priorities)

    @th.no_grad()
    def _set_first_priorities(self, new: NDArray[np.int64]) -> None:
        """Give the transitions at ``new``, which no update has seen, their own TD error's priority.

        The networks are still those that were there when they were collected, so one batch of
        them all is as good as one by one, and cheaper.
        """
        for part in batches(len(new)):
            batch = self.replay_buffer.batch_at(new[part])
            td_error = self._td_error(batch)
            if not td_error.isfinite().all():  # which no priority may be
                raise self._diverged("a TD error is not finite")
            self._set_priorities(batch, td_error)

    @th.no_grad()
    def _update_copies(self) -> None:
        """Move the averaged network, over the last ``average_share`` of the updates so far."""
        if self.policy.average is not None:
            share = 1 / max(1.0, self.average_share * self._n_updates)
            move_towards(self.policy.average, self.policy.online, share)

    def _beta(self) -> float:
        """The exponent of the importance weights, annealed over the training; 0 turns them off."""
        if not self.importance_weights:
            return 0.0
        done = 1.0 - self._current_progress_remaining
        return self.replay_beta + done * (self.replay_beta_final - self.replay_beta)
