"""log P(x) of given objects: exactly over their ancestors, or by importance sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gfn_gym.arguments import seeded, whole
from gfn_gym.dag import DAG, Floats, States
from gfn_gym.edges import in_edges
from gfn_gym.evaluation.exact import log_terminal_distribution
from gfn_gym.evaluation.metrics import pearson, spearman
from gfn_gym.evaluation.policy import Policy, checked_backward_policy
from gfn_gym.evaluation.sampling import check_objects, check_reached_start, draw_backward
from gfn_gym.graph import Graph, Indices, batches, lay_out
from gfn_gym.mdp import MDP, BackwardPolicy, log_reward_of
from gfn_gym.ragged import ragged_ranges


@dataclass(slots=True)
class Likelihood:
    """log P(x) of n objects.

    Attributes:
        log_prob: float64 (n,).
        standard_error: float64 (n,), of ``log_prob``; 0 where it is exact. Where sampled it is
            first order (the delta method) and itself an estimate: trust it where it is well
            below 1.
        exact: bool (n,), computed exactly, not sampled.
    """

    log_prob: Floats
    standard_error: Floats
    exact: NDArray[np.bool_]


def log_likelihood(
    dag: DAG,
    policy: Policy,
    objects: ArrayLike,
    n_samples: int = 100,
    max_ancestors: int = 1000,
    seed: int | np.random.Generator = 0,
    batch_size: int = 1024,
    backward_policy: BackwardPolicy | None = None,
) -> Likelihood:
    """Return the log-probability with which the policy ends in each of the given objects.

    An object with at most ``max_ancestors`` ancestors (the states on any way to it, itself
    included) is evaluated exactly, by pushing probability through them (:class:`Ancestry`, which
    serves where many policies are evaluated on the same objects). For the others,
    P(x) = E[P_F(τ)/P_B(τ | x)] over trajectories τ from P_B is averaged over ``n_samples`` of
    them (arXiv:2310.12934 takes 10 for bit sequences): unbiased for P, a little low for log P.
    Where the weights have a long tail, estimate and error are both too low until enough of it was
    seen; an error near 1 is the sign.

    Args:
        dag: the DAG, of any size.
        policy: states → log-probabilities.
        objects: (n, d), finished objects.
        n_samples: trajectories to each object that is sampled, at least 2.
        max_ancestors: the most ancestors of an object that are explored; 0 samples always.
        seed: of a generator of its own, or a generator to draw from.
        batch_size: states or trajectories at once; bounds the memory.
        backward_policy: what trajectories are drawn from; None is uniform. It changes the
            standard error, not what is estimated.

    Raises:
        ValueError: a row is not a finished object of the DAG, a policy returned no
            log-probabilities, or n_samples is below 2.
    """
    whole("n_samples", n_samples)
    whole("max_ancestors", max_ancestors, least=0)
    whole("batch_size", batch_size, least=1)
    if n_samples < 2:
        raise ValueError(
            f"n_samples={n_samples!r} must be at least 2, or its error cannot be estimated"
        )
    states = check_objects(dag, objects)
    n = len(states)
    result = Likelihood(np.empty(n), np.zeros(n), np.zeros(n, dtype=bool))
    for part in batches(n):
        ancestry = Ancestry(dag, states[part], max_ancestors, checked=True)
        result.exact[part] = ancestry.exact
        result.log_prob[part] = ancestry.log_prob(policy, batch_size)
    mdp = MDP(dag, checked_backward_policy(dag, backward_policy))
    generator = seeded("seed", seed)
    sampled = np.flatnonzero(~result.exact)
    for part in batches(len(sampled), max(1, batch_size // n_samples)):
        rows = sampled[part]
        log_ratio = _log_ratios(mdp, policy, states[rows], n_samples, batch_size, generator)
        result.log_prob[rows], result.standard_error[rows] = _log_mean(log_ratio)
    return result


def _log_ratios(
    mdp: MDP,
    policy: Policy,
    objects: States,
    n_samples: int,
    batch_size: int,
    generator: np.random.Generator,
) -> Floats:
    """log P_F(τ)/P_B(τ | x) of n_samples trajectories to each object, (n, n_samples)."""
    wanted = np.repeat(objects, n_samples, axis=0)
    log_ratio = np.empty(len(wanted))
    for part in batches(len(wanted), batch_size):
        drawn = draw_backward(mdp, policy, wanted[part], generator)
        log_ratio[part] = drawn.log_forward - drawn.log_backward
    return log_ratio.reshape(len(objects), n_samples)


def _log_mean(log_values: Floats) -> tuple[Floats, Floats]:
    """The logarithm of each row's mean, and its standard error: that of the mean over the mean."""
    largest = log_values.max(axis=1)
    possible = np.isfinite(largest)  # else all are −inf: the policy never took such a way
    scaled = np.exp(log_values[possible] - largest[possible, None])
    mean, m = scaled.mean(axis=1), log_values.shape[1]
    log_mean = np.full(len(log_values), -np.inf)
    error = np.full(len(log_values), np.inf)
    log_mean[possible] = largest[possible] + np.log(mean)
    error[possible] = scaled.std(axis=1, ddof=1) / (np.sqrt(m) * mean)
    return log_mean, error


# ---- ancestors ------------------------------------------------------------------------------


class Ancestry:
    """The ancestors of given objects and all edges between them, found once for many policies.

    All parents of an ancestor are ancestors, so that the probability of visiting each of them is
    pushed from s0 through this part of the DAG alone; what a policy spends on edges that lead
    elsewhere is lost, as it should be.

    Args:
        dag: the DAG, of any size.
        objects: (n, d), finished objects; repeats allowed.
        max_ancestors: leave objects with more ancestors out.
        checked: whether the objects were seen to be finished and canonical.

    Attributes:
        exact: bool (n,), which objects are evaluated: not the ones left out.
        graph: their ancestors.

    Raises:
        ValueError: a row is not a finished object of the DAG.
    """

    def __init__(
        self, dag: DAG, objects: ArrayLike, max_ancestors: int = 1000, checked: bool = False
    ):
        states = np.asarray(objects) if checked else check_objects(dag, objects)
        search = _AncestorSearch(dag, states, max_ancestors)
        search.run()
        self.exact: NDArray[np.bool_] = search.kept
        self.graph: Graph | None = search.graph() if self.exact.any() else None
        if self.graph is not None:
            check_reached_start(dag, self.graph.states[: self.graph.layers[1]])
            targets = self.graph.index_of(states[self.exact])
            self._places = np.searchsorted(self.graph.objects, targets)

    def __len__(self) -> int:
        """How many ancestors there are, the objects included."""
        return 0 if self.graph is None else len(self.graph.states)

    def log_prob(self, policy: Policy, batch_size: int = 1024) -> Floats:
        """Return log P(x) of the objects, float64 (n,); NaN of those that were left out.

        Raises:
            ValueError: the policy returned no log-probabilities, see :func:`log_probs_of`.
        """
        result = np.full(len(self.exact), np.nan)
        if self.graph is not None:
            log_prob = log_terminal_distribution(self.graph, policy, batch_size)
            result[self.exact] = log_prob[self._places]
        return result


class ExactCorrelation:
    """How well policies rank given objects: correlations of log P_θ and log R, exactly.

    A function of a policy, for many policies on the same objects.

    Args:
        dag: the DAG, of any size.
        objects: (n, d), finished objects.
        max_ancestors: leave objects with more ancestors out.
        batch_size: how many states the policy is asked about at once.

    Attributes:
        ancestry: of the objects.
        log_reward: float64 (n,).

    Raises:
        ValueError: a row is not a finished object of the DAG, or fewer than two are evaluated.
    """

    def __init__(
        self, dag: DAG, objects: ArrayLike, max_ancestors: int = 10_000, batch_size: int = 1024
    ):
        states = check_objects(dag, objects)
        self.ancestry = Ancestry(dag, states, max_ancestors, checked=True)
        if self.ancestry.exact.sum() < 2:
            raise ValueError(
                f"{self.ancestry.exact.sum()} of {len(states)} objects have at most "
                f"max_ancestors={max_ancestors} ancestors: too few to correlate"
            )
        self.log_reward = log_reward_of(dag, states)
        self.batch_size = batch_size

    def __call__(self, policy: Policy) -> dict[str, float]:
        """Evaluate a policy.

        Returns:
            - ``pearson`` and ``spearman`` of log R and log P_θ;
            - ``objects``: how many were evaluated, and ``left_out``: how many were not, for they
              have too many ancestors.
        """
        exact = self.ancestry.exact
        log_prob = self.ancestry.log_prob(policy, self.batch_size)
        return {
            "pearson": pearson(self.log_reward[exact], log_prob[exact]),
            "spearman": spearman(self.log_reward[exact], log_prob[exact]),
            "objects": float(exact.sum()),
            "left_out": float((~exact).sum()),
        }


class _AncestorSearch:
    """Breadth first from the objects towards s0, until an object has too many ancestors.

    States are numbered as they are found. Each is expanded once, in that order, however many
    objects it leads to. Which states are ancestors of which objects is a set of pairs of a state
    and an object that it leads to, each written as the number state·n + object.

    Attributes:
        kept: bool (n,), which objects have not had too many ancestors so far.
    """

    def __init__(self, dag: DAG, objects: States, max_states: int):
        self.dag, self.max_states = dag, max_states
        self.n = len(objects)
        self.kept = np.full(self.n, max_states > 0)
        self._numbers: dict[bytes, int] = {}  # of each state, by its row as bytes
        self._states = objects[:0]  # (states so far, d), in the order of their numbers
        # The parents of the expanded states, one state after another, each parent once; those of
        # state i are at bounds[i] to bounds[i + 1].
        self._parents = np.zeros(0, dtype=np.int64)
        self._bounds = np.zeros(1, dtype=np.int64)
        self._edges: list[tuple[Indices, Indices, Indices]] = []  # parents, actions, children
        self._own = self._number(np.ascontiguousarray(objects))  # the objects' numbers
        self._pairs = self._new = self._own * self.n + np.arange(self.n)

    def run(self) -> None:
        """Go back a step at a time, from the pairs that the last step has found."""
        while len(self._new) and self.kept.any():
            self._expand()
            self._new = np.setdiff1d(self._parent_pairs(self._new), self._pairs)
            self._pairs = np.concatenate([self._pairs, self._new])
            n_ancestors = np.bincount(self._pairs % self.n, minlength=self.n)
            self.kept &= n_ancestors <= self.max_states
            self._new = self._new[self.kept[self._new % self.n]]

    def _parent_pairs(self, pairs: Indices) -> Indices:
        """The pairs of the states' parents and the same objects, with repeats."""
        states, objects = np.divmod(pairs, self.n)
        starts = self._bounds[states]
        rows, places = ragged_ranges(starts, self._bounds[states + 1] - starts)
        return self._parents[places] * self.n + objects[rows]

    def _expand(self) -> None:
        """Find the edges into all states that were numbered since the last time."""
        first = len(self._bounds) - 1  # expanded so far
        frontier = self._states[first:]
        rows, parents, actions = in_edges(self.dag, frontier)
        numbers = self._number(np.ascontiguousarray(parents, dtype=frontier.dtype))
        self._edges.append((numbers, actions, first + rows))
        # Parallel edges come from one parent.
        total = len(self._numbers)
        children, distinct = np.divmod(np.unique(rows * total + numbers), total)
        counts = np.bincount(children, minlength=len(frontier))
        self._bounds = np.concatenate([self._bounds, self._bounds[-1] + np.cumsum(counts)])
        self._parents = np.concatenate([self._parents, distinct])

    def _number(self, rows: States) -> Indices:
        """The numbers of states (m, d), new ones where they are new."""
        before, numbers = len(self._numbers), self._numbers
        named = np.array(
            [numbers.setdefault(row.tobytes(), len(numbers)) for row in rows], dtype=np.int64
        )
        distinct, pick = np.unique(named, return_index=True)
        self._states = np.concatenate([self._states, rows[pick[distinct >= before]]])
        return named

    def graph(self) -> Graph:
        """The ancestors of the objects that were kept, laid out."""
        ancestors = self._pairs[self.kept[self._pairs % self.n]] // self.n
        wanted = np.zeros(len(self._states), dtype=bool)
        wanted[ancestors] = True
        number = np.cumsum(wanted) - 1  # of the wanted states, among themselves
        nothing = np.zeros(0, dtype=np.int64)
        edges = [(nothing, nothing, nothing), *self._edges]
        parents, actions, children = (np.concatenate(column) for column in zip(*edges, strict=True))
        inside = wanted[children]  # and so are all their parents
        finished = np.zeros(len(self._states), dtype=bool)
        finished[self._own[self.kept]] = True
        return lay_out(
            self.dag,
            self._states[wanted],
            number[parents[inside]],
            actions[inside],
            number[children[inside]],
            finished[wanted],
        )
