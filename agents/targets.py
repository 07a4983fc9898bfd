"""The update rules as pure functions of tensors; the algorithms only wire them.

Shapes: q (n, n_actions), actions (n,), everything else (n,). Illegal actions have q = −inf.
``temperature`` is λ. Notation of arXiv:2310.12934, section 3.
"""

from __future__ import annotations

import math

import torch as th
from torch.nn import functional as F


def ragged_ranges(counts: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Number the entries of n lists of ``counts`` int64 (n,) entries each.

    Returns:
        For each of the Σ counts entries: its list, rising, and its place there from 0; int64.
    """
    lists = th.repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    return lists, th.arange(len(lists), device=counts.device) - starts[lists]


def soft_value(q: th.Tensor, temperature: float = 1.0) -> th.Tensor:
    """V(s) = λ·logsumexp(Q(s,·)/λ), (n,). −inf where no action is legal."""
    return temperature * th.logsumexp(q / temperature, dim=1)


def log_policy(q: th.Tensor, temperature: float = 1.0) -> th.Tensor:
    """log π(·|s) of π = softmax(Q/λ), (n, n_actions); −inf where illegal."""
    return th.log_softmax(q / temperature, dim=1)


def log_policy_of(q: th.Tensor, actions: th.Tensor, temperature: float = 1.0) -> th.Tensor:
    """log π(a|s) of legal actions, (n,)."""
    return log_policy(q, temperature).gather(1, actions[:, None]).squeeze(1)


def edge_log_flow(q: th.Tensor, temperature: float = 1.0) -> th.Tensor:
    """V(s) + log π(·|s), log F of the edges, (n, n_actions); Q itself where λ = 1."""
    if temperature == 1:
        return q
    return soft_value(q, temperature)[:, None] + log_policy(q, temperature)


def dueling(value: th.Tensor, advantage: th.Tensor, temperature: float = 1.0) -> th.Tensor:
    """Q(s,·) = V(s) + λ·log softmax(A(s,·)/λ), (n, n_actions), so that V is the soft value.

    ``advantage`` is −inf where illegal. A mean over actions, as in dueling DQN, would be −inf.
    """
    return value[:, None] + temperature * log_policy(advantage, temperature)


def double_soft_value(
    q_online: th.Tensor, q_target: th.Tensor, temperature: float = 1.0
) -> th.Tensor:
    """E_{a~π_online}[Q_target(s,a) − λ·log π_online(a|s)], (n,): double Q-learning's value.

    At most the soft value of ``q_target``, and equal to it where the two networks agree. With an
    actor's logits for ``q_online`` it is soft actor-critic's V(s), whose negative is the actor's
    loss, KL(π ‖ softmax(Q/λ)) up to a constant.
    """
    legal = q_target > -th.inf
    # Filled before they are multiplied: 0 · −inf is NaN, and so would be its gradient. What is
    # illegal adds e^0·(0 − 0).
    log_pi = th.where(legal, log_policy(q_online, temperature), 0.0)
    advantage = th.where(legal, q_target, 0.0) - temperature * log_pi
    return (log_pi.exp() * advantage).sum(dim=1)


def soft_td_target(rewards: th.Tensor, dones: th.Tensor, next_value: th.Tensor) -> th.Tensor:
    """r + V(s') while the episode goes on, r at its end; γ = 1.

    ``where``, not a product: the value of a completed object is −inf, and 0 · −inf is NaN.
    """
    return rewards + th.where(dones, 0.0, next_value)


def munchausen_log_policy(q: th.Tensor, actions: th.Tensor, temperature: float = 1.0) -> th.Tensor:
    """λ·log π(a|s) of the actions taken, (n,): what M-DQN scales by α and clips below at l0."""
    return temperature * log_policy_of(q, actions, temperature)


def munchausen_bonus(scaled_log_policy: th.Tensor, alpha: float, l0: float) -> th.Tensor:
    """α·clip(λ·log π(a|s), l0, 0), (n,); arXiv:2007.14430, eq. 1."""
    return alpha * scaled_log_policy.clamp(min=l0, max=0.0)


def td_loss(td_error: th.Tensor, huber: bool = True) -> th.Tensor:
    """Huber loss with threshold 1, or half the square, of each TD error, (n,)."""
    if huber:
        return F.huber_loss(td_error, th.zeros_like(td_error), reduction="none")
    return 0.5 * td_error.square()


# ---- balance ------------------------------------------------------------------------------------
# Edges lie in the order of their trajectories, which are complete. The reward is Theorem 1's,
# log P_B, with log R added at the end: so the flow at the end, R, comes in as a reward, and
# stopping and completing need not be told apart.


def flow_and_forward(q: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """log F(s) and log P_F(a|s) of the edges, each (n,), where Q is their sum."""
    log_flow = soft_value(q)
    return log_flow, q.gather(1, actions[:, None]).squeeze(1) - log_flow


def trajectory_balance(
    log_z: th.Tensor, log_forward: th.Tensor, rewards: th.Tensor, trajectories: th.Tensor
) -> th.Tensor:
    """log Z + Σ (log P_F − r) of each trajectory, (m,); arXiv:2201.13259.

    Args:
        log_z: (1,).
        log_forward, rewards: (n,), log P_F and r = log P_B (+ log R at the end) of the edges.
        trajectories: int64 (n,), which of the m trajectories each edge is of, rising from 0.
    """
    m = int(trajectories[-1]) + 1
    return log_z.expand(m).index_add(0, trajectories, log_forward - rewards)


def detailed_balance(
    log_flow: th.Tensor, log_forward: th.Tensor, rewards: th.Tensor, dones: th.Tensor
) -> th.Tensor:
    """log F(s) + log P_F − log P_B − log F(s') of each edge, (n,), with R for F at the end.

    arXiv:2111.09266. Soft Q-learning's error Q − (r + V(s')) with log F = V.

    Args:
        log_flow: (n,), log F(s) of the states that the edges leave.
        log_forward, rewards, dones: (n,), of the edges.
    """
    return log_flow + log_forward - soft_td_target(rewards, dones, log_flow.roll(-1))


def sub_trajectory_balance(
    log_flow: th.Tensor, log_forward: th.Tensor, rewards: th.Tensor
) -> th.Tensor:
    """log F(s_i) + Σ_{i≤t<j} (log P_F − r) − log F(s_j) of all i, j, (m, T + 1, T + 1).

    arXiv:2209.12782: the residual of the piece from s_i to s_j, with R for F at the end.
    It is a difference, g_i − g_j with g_t = log F(s_t) − Σ_{k<t} (log P_F − r), so the matrix is
    antisymmetric, and the pieces are what lies above its diagonal.

    Args:
        log_flow, log_forward, rewards: (m, T), of m trajectories' edges, 0 after their ends.
    """
    summed = F.pad((log_forward - rewards).cumsum(dim=1), (1, 0))  # [m, T + 1]
    g = F.pad(log_flow, (0, 1)) - summed
    return g[:, :, None] - g[:, None, :]


def geometric_weights(lengths: th.Tensor, decay: float) -> th.Tensor:
    """The weights of all pieces of m trajectories, (m, T + 1, T + 1).

    A piece of n edges weighs ``decay`` ** n, above 0, and those of a trajectory sum to one:
    SubTB(λ) of arXiv:2209.12782, within each trajectory. 0 where there is no piece.

    Args:
        lengths: int64 (m,), edges of each trajectory.
        decay: λ, above 0.
    """
    place = th.arange(int(lengths.max()) + 1, device=lengths.device)
    edges = place[None, :] - place[:, None]  # [T + 1, T + 1], from row to column
    pieces = (edges > 0) & (place <= lengths[:, None])[:, None, :]
    logits = (edges * math.log(decay)).masked_fill(~pieces, -th.inf)  # λ^n may overflow
    return th.softmax(logits.flatten(1), dim=1).view(pieces.shape)


# ---- policy gradients ---------------------------------------------------------------------------


def generalised_advantage(errors: th.Tensor, decay: float) -> th.Tensor:
    """Σ_k decay^k·δ_{t+k} over what is left of each trajectory, (m, T); arXiv:1506.02438, eq. 16.

    Args:
        errors: (m, T), TD errors δ_t of m trajectories, 0 after their ends; γ = 1.
        decay: λ.
    """
    advantages = errors.clone()
    for t in reversed(range(errors.shape[1] - 1)):
        advantages[:, t] += decay * advantages[:, t + 1]
    return advantages


def clipped_surrogate(log_ratio: th.Tensor, advantages: th.Tensor, clip_range: float) -> th.Tensor:
    """min(ρ·A, clip(ρ, 1 − ε, 1 + ε)·A) with ρ = e^log_ratio, (n,); arXiv:1707.06347, eq. 7."""
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return th.minimum(ratio * advantages, clipped * advantages)


def policy_divergence(q: th.Tensor, q_other: th.Tensor) -> th.Tensor:
    """KL(softmax(q) ‖ softmax(q_other)) over the legal actions, which are those of both, (n,)."""
    legal = q > -th.inf
    # Filled before they are multiplied: 0 · −inf is NaN, and so would be its gradient.
    log_pi, log_other = (th.where(legal, log_policy(x), 0.0) for x in (q, q_other))
    return (log_pi.exp() * (log_pi - log_other)).sum(dim=1)


# ---- backward policies --------------------------------------------------------------------------


def log_backward_of_edges(
    log_p_backward: th.Tensor, group: th.Tensor, n_parallel: th.Tensor
) -> th.Tensor:
    """log P_B of edges (n,): logsumexp of log p_B over the group − log n_parallel.

    Parallel actions are edges of their own, and P_B sums to one over all edges into a state.

    Args:
        log_p_backward: (n, n_backward_actions), log p_B(·|s') of the next states; −inf: illegal.
        group: bool (n, n_backward_actions), the backward actions of s' that lead to s; none for
            the stop action, whose log P_B is 0.
        n_parallel: (n,), how many actions of s lead to s'.
    """
    stops = ~group.any(dim=1)
    # Not −inf in a whole row, of which the gradient is NaN.
    terms = log_p_backward.masked_fill(~group, -th.inf).masked_fill(stops[:, None], 0.0)
    return th.where(stops, 0.0, th.logsumexp(terms, dim=1) - n_parallel.log())


# ---- flow matching ------------------------------------------------------------------------------


def log_sum_by_row(values: th.Tensor, rows: th.Tensor, n: int) -> th.Tensor:
    """logsumexp of the ``values`` (E,) that belong to each of ``n`` rows, (n,).

    ``rows`` int64 (E,) says which; each row must have a value.
    """
    by_row = values[th.argsort(rows, stable=True)]
    counts = th.bincount(rows, minlength=n)
    padded = values.new_full((n, int(counts.max())), -th.inf)  # [n, most values of a row]
    return padded.index_put(ragged_ranges(counts), by_row).logsumexp(dim=1)


def flow_matching_error(log_in: th.Tensor, log_out: th.Tensor, epsilon: float = 0.0) -> th.Tensor:
    """log(ε + in-flow) − log(ε + out-flow) of states, (n,); arXiv:2106.04399, eq. 12."""
    if epsilon == 0:
        return log_in - log_out
    log_epsilon = th.full_like(log_in, epsilon).log()
    return th.logaddexp(log_epsilon, log_in) - th.logaddexp(log_epsilon, log_out)
