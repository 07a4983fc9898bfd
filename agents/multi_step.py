"""Targets over several transitions of a stored trajectory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from gfn_gym.arguments import unit, whole

from .networks import QNetwork, TwinQNetwork
from .replay.transition_buffer import TransitionBatch, TransitionBuffer

TDTarget = Callable[[TransitionBatch], th.Tensor]


@th.no_grad()
def multi_step_target(
    one_step: TDTarget,
    critic: QNetwork | TwinQNetwork,
    buffer: TransitionBuffer,
    batch: TransitionBatch,
    n_step: int,
    td_lambda: float = 1.0,
) -> th.Tensor:
    """The target of Q(s, a) over ``n_step`` transitions, (n,).

    With the target network's Q̄ = V̄ + λ·log π̄, path consistency along s_t, a_t, …, s_{t+n}
    telescopes into the one-step target and the TD errors that Q̄ makes on what follows:

        r_t + Σ_{0<i<n} (r_{t+i} − λ·log π̄(a_{t+i}|s_{t+i})) + V̄(s_{t+n})
          = r_t + V̄(s_{t+1}) + Σ_{0<i<n} (r_{t+i} + V̄(s_{t+i+1}) − Q̄(s_{t+i}, a_{t+i}))

    (arXiv:1702.08892; TD(λ) weights term i by ``td_lambda``^i). At the optimum each error is 0
    whatever policy chose the actions, so no correction for another behavior is due. Nothing here
    depends on how an algorithm makes its one-step target.

    Args:
        one_step: a batch → its one-step targets, (n,).
        critic: Q̄.
        buffer: where the batch was drawn from.
        batch: n transitions.
        n_step: how many transitions, at least 1; fewer where the episode or what is stored ends.
        td_lambda: in [0, 1].
    """
    target = one_step(batch)
    if n_step == 1:
        return target
    rows, indices, weights = _transitions_ahead(buffer, batch.indices, n_step, td_lambda)
    if len(rows):
        ahead = buffer.batch_at(indices)
        error = one_step(ahead) - critic.of_actions(ahead.states, ahead.masks, ahead.actions)
        device = target.device
        of_rows, factors = th.from_numpy(rows).to(device), th.from_numpy(weights).to(device)
        target = target.index_add(0, of_rows, factors * error)
    return target


def _transitions_ahead(
    buffer: TransitionBuffer, indices: NDArray[np.int64], n_step: int, td_lambda: float
) -> tuple[NDArray[Any], ...]:
    """The up to ``n_step`` − 1 transitions that follow each of those at ``indices`` (n,).

    Returns:
        For each one found: the row in ``indices`` it follows, where it lies in the buffer, and
        its weight, float32.
    """
    rows = np.arange(len(indices))
    found: list[tuple[NDArray[Any], ...]] = []
    for distance in range(1, n_step):
        indices = buffer.following(indices)
        rows, indices = rows[indices >= 0], indices[indices >= 0]
        weight = np.full(len(rows), td_lambda**distance, dtype=np.float32)
        found.append((rows, indices, weight))
        if not len(rows):
            break
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def check_target_network(algorithm: Any) -> None:
    """Check the arguments of a target network and of targets over several steps."""
    whole("target_update_interval", algorithm.target_update_interval, least=1)
    whole("n_step", algorithm.n_step, least=1)
    unit("tau", algorithm.tau)
    unit("td_lambda", algorithm.td_lambda)
