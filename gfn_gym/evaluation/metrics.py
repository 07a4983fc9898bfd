"""What papers report: correlations, bounds on log Z, top-k, and the empirical distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gfn_gym.arguments import seeded, whole
from gfn_gym.dag import DAG, Floats, States
from gfn_gym.evaluation.exact import find_states, target_distribution
from gfn_gym.evaluation.policy import Policy
from gfn_gym.evaluation.sampling import Samples, sample_backward
from gfn_gym.graph import Graph, Indices, enumerate_graph
from gfn_gym.mdp import BackwardPolicy

# ---- correlations ---------------------------------------------------------------------------


def pearson(a: ArrayLike, b: ArrayLike) -> float:
    """Return the linear correlation of a and b, (n,) each.

    It is NaN where it is not defined: a or b is constant, or holds an infinity (log P = −inf).

    Raises:
        ValueError: a or b is not of shape (n,) with n ≥ 2, their lengths differ, or one holds NaN.
    """
    x, y = _pair(a, b)
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    return float(np.clip(x @ y, -1.0, 1.0))


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Return the correlation of the ranks of a and b, (n,) each; ties have their mean rank.

    Infinities rank first and last. It is NaN where a or b is constant.

    Raises:
        ValueError: as :func:`pearson`.
    """
    x, y = _pair(a, b)
    return pearson(_ranks(x), _ranks(y))


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise ValueError(
            f"a and b must be of one shape (n,), n at least 2, not {x.shape} and {y.shape}"
        )
    for name, values in (("a", x), ("b", y)):
        if np.isnan(values).any():
            raise ValueError(f"{name}[{int(np.argmax(np.isnan(values)))}] is NaN")
    return x, y


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


# ---- bounds ---------------------------------------------------------------------------------


def elbo(samples: Samples) -> float:
    """Return the mean of log R + log P_B − log P_F over the policy's own samples.

    Its expectation is log Z − KL(policy's trajectories ‖ target's): at most log Z, and equal to
    it for a perfect policy.
    """
    return float(samples.log_weights().mean())


def eubo(
    dag: DAG,
    policy: Policy,
    objects: ArrayLike,
    seed: int | np.random.Generator = 0,
    batch_size: int = 1024,
    backward_policy: BackwardPolicy | None = None,
) -> float:
    """Return the mean of log R + log P_B − log P_F over one backward trajectory to each object.

    Where the objects are drawn from R/Z its expectation is log Z + KL(target's trajectories ‖
    policy's): at least log Z. Unlike the ELBO it is large where the policy misses a mode
    (Blessing et al. 2024, arXiv:2406.07423).

    Args:
        dag: the DAG, of any size.
        policy: states → log-probabilities.
        objects: (n, d), drawn from R/Z.
        seed: of a generator of its own, or a generator to draw from.
        batch_size: trajectories drawn at once.
        backward_policy: log-probabilities of backward actions; None is uniform.

    Raises:
        ValueError: as :func:`sample_backward`.
    """
    drawn = sample_backward(dag, policy, objects, seed, batch_size, backward_policy)
    return float(drawn.log_weights().mean())


# ---- the best -------------------------------------------------------------------------------


def top_k(states: States, log_reward: ArrayLike, k: int) -> tuple[States, Floats]:
    """Return the k distinct objects of highest reward, best first.

    Args:
        states: (n, d), repeats allowed.
        log_reward: (n,), log R of them.
        k: how many, at least 1; fewer come back where there are fewer distinct ones.

    Returns:
        The objects (k, d), and their log R, float64 (k,).

    Raises:
        ValueError: k below 1, shapes that do not fit, or NaN.
    """
    states, values = np.asarray(states), np.asarray(log_reward, dtype=np.float64)
    whole("k", k, least=1)
    if states.ndim != 2 or values.shape != (len(states),):
        raise ValueError(
            f"states must be of shape (n, d) and log_reward (n,), not {states.shape} and "
            f"{values.shape}"
        )
    if np.isnan(values).any():
        raise ValueError(f"log_reward[{int(np.argmax(np.isnan(values)))}] is NaN")
    _, first = np.unique(states, axis=0, return_index=True)
    best = first[np.argsort(-values[first], kind="stable")[:k]]
    return states[best], values[best]


# ---- the papers' empirical distance ---------------------------------------------------------


class EmpiricalDistribution:
    """The last terminal states that training visited, against R/Z: what papers plot as "L1".

    It has a floor, see :func:`perfect_sampler_floor`, and so cannot rank converged methods;
    :func:`evaluate_exact` can. In arXiv:2310.12934 the window is 200,000.

    Args:
        dag: a DAG with at most a million states, or its :class:`Graph`.
        window: how many states are remembered.

    Raises:
        ValueError: window below 1, or too many states.
    """

    def __init__(self, dag: DAG | Graph, window: int = 200_000):
        window = whole("window", window, least=1)
        self.graph = dag if isinstance(dag, Graph) else enumerate_graph(dag)
        self.window = window
        self._target = target_distribution(self.graph)
        # States are looked up when a distance is asked for, not a few at a time while training.
        self._ring = np.empty((window, self.graph.states.shape[1]), self.graph.states.dtype)
        self._added = 0

    def __len__(self) -> int:
        """How many states the window holds now."""
        return min(self._added, self.window)

    def add(self, states: States) -> None:
        """Append terminal states (n, d) in the order in which they were visited.

        Raises:
            ValueError: another shape.
        """
        states = np.asarray(states)
        if states.ndim != 2 or states.shape[1] != self._ring.shape[1]:
            raise ValueError(
                f"states must be of shape (n, {self._ring.shape[1]}), not {states.shape}"
            )
        kept = states[-self.window :]
        self._added += len(states)
        self._ring[np.arange(self._added - len(kept), self._added) % self.window] = kept

    def states(self) -> States:
        """Return the window's states (len(self), d), oldest first; ``add`` takes them back."""
        kept = np.arange(self._added - len(self), self._added) % self.window
        return self._ring[kept]

    def probabilities(self) -> Floats:
        """Return p̂, the frequencies of ``graph.objects`` in the window, float64 (X,).

        Raises:
            ValueError: nothing was added yet, or a state is not an object of the graph.
        """
        if not len(self):
            raise ValueError("no states were added yet")
        states = self._ring[: len(self)]
        counts = np.bincount(find_states(self.graph, states), minlength=len(self.graph.states))
        if counts.sum() != counts[self.graph.objects].sum():
            counts[self.graph.objects] = 0
            bad = self.graph.states[int(np.argmax(counts > 0))]
            raise ValueError(f"{bad.tolist()} is not a finished object of {self.graph.dag!r}")
        return counts[self.graph.objects] / len(self)

    def l1_sum(self) -> float:
        """Return Σ|p̂ − R/Z|, in [0, 2]."""
        return float(np.abs(self.probabilities() - self._target).sum())

    def l1_mean(self) -> float:
        """Return the mean of |p̂ − R/Z| over all objects: the "L1" of arXiv:2310.12934."""
        return self.l1_sum() / len(self._target)

    def total_variation(self) -> float:
        """Return ½·Σ|p̂ − R/Z|, in [0, 1]."""
        return self.l1_sum() / 2


def perfect_sampler_floor(
    dag: DAG | Graph, window: int = 200_000, seed: int | np.random.Generator = 0
) -> dict[str, float]:
    """Return the empirical distances of ``window`` independent draws from R/Z itself.

    No sampler does better in expectation.

    Returns:
        ``l1_mean``, ``l1_sum`` and ``total_variation``, as :class:`EmpiricalDistribution`
        defines them.

    Raises:
        ValueError: window below 1, or too many states.
    """
    empirical = EmpiricalDistribution(dag, window)
    graph = empirical.graph
    counts: Indices = seeded("seed", seed).multinomial(window, target_distribution(graph))
    empirical.add(graph.states[np.repeat(graph.objects, counts)])
    return {
        "l1_mean": empirical.l1_mean(),
        "l1_sum": empirical.l1_sum(),
        "total_variation": empirical.total_variation(),
    }
