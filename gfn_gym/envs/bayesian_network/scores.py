"""Scores of graphs: how well a parent set explains a node.

All three are differences of one function of a *set* of columns,

    score(node | parents) = F(parents ∪ {node}) − F(parents),

with F(S) the log marginal likelihood of the columns S under the complete graph over them (BGe,
BDeu), or its approximation by BIC. So d·2^(d−1) local scores need 2^d numbers, each computed
once; and graphs that stand for the same independences get the same score, since the sums of F
telescope alike (Heckerman, Geiger and Chickering 1995).
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import Floats
from gfn_gym.envs.bayesian_network.bits import Bits

Sets = NDArray[np.int64]
"""(m, k): m sets of k different columns each."""

UP_FRONT = 2**16  # sets; fewer are computed at once, more as they are asked for …
UP_FRONT_WORK = 2**27  # … and so are fewer of many observations: sets times observations
MOST = 2**24  # sets that workers may compute: minutes, and the memory of a table
DENSE = 22  # nodes up to which a table has a cell a set: 32 MiB
AT_ONCE = 2**22  # numbers held at a time while sets are computed


class SetScore(Protocol):
    """F of sets of columns."""

    def __call__(self, sets: Sets) -> Floats:
        """Return F of m sets of the same size k ≥ 1, (m, k) → float64 (m,)."""


@dataclass(frozen=True)
class BGe:
    """The Bayesian Gaussian equivalent score (Geiger and Heckerman 2002).

    With the constants of Kuipers, Moffa and Heckerman 2014 (equation 4 and supplement), a prior
    mean of 0 and T = t·I. For a set of k of the d columns, N observations and a = α_w − d + k,

        F = k/2·log(α_μ/(N + α_μ)) − kN/2·log π + log Γ_k((N + a)/2) − log Γ_k(a/2)
            + a/2·log|T_kk| − (N + a)/2·log|R_kk|,

    R = T + Σ (x − x̄)(x − x̄)ᵀ + α_μ·N/(α_μ + N)·x̄x̄ᵀ, Γ_k the multivariate gamma function.

    Attributes:
        data: float64 (N, d).
        alpha_mu: α_μ, the weight of the prior mean in observations, above 0.
        alpha_w: α_w, the degrees of freedom of the Wishart prior, above d + 1.
    """

    data: Floats
    alpha_mu: float
    alpha_w: float

    def __call__(self, sets: Sets) -> Floats:
        (n, d), k = self.data.shape, sets.shape[1]
        a = self.alpha_w - d + k
        constant = (
            k / 2 * math.log(self.alpha_mu / (n + self.alpha_mu))
            - k * n / 2 * math.log(math.pi)
            + sum(math.lgamma((n + a - i) / 2) - math.lgamma((a - i) / 2) for i in range(k))
            + a / 2 * k * math.log(self.t)
        )
        return constant - (n + a) / 2 * _log_determinants(self._r, sets)

    @cached_property
    def _r(self) -> Floats:
        n, d = self.data.shape
        mean = self.data.mean(axis=0)
        centred = self.data - mean
        shrunk = self.alpha_mu * n / (self.alpha_mu + n)
        return self.t * np.eye(d) + centred.T @ centred + shrunk * np.outer(mean, mean)

    @property
    def t(self) -> float:
        """T = t·I with t = α_μ(α_w − d − 1)/(α_μ + 1)."""
        d = self.data.shape[1]
        return self.alpha_mu * (self.alpha_w - d - 1) / (self.alpha_mu + 1)


@dataclass(frozen=True)
class GaussianBIC:
    """The Bayesian information criterion of linear Gaussian networks (Schwarz 1978).

    F = greatest log-likelihood of the columns − log(N)/2·(number of means and covariances), so
    that a local score is that of a regression: its log-likelihood at σ̂² = RSS/N, less
    log(N)/2 for the intercept, for σ² and for each parent.

    Attributes:
        data: float64 (N, d), no column constant.
    """

    data: Floats

    def __call__(self, sets: Sets) -> Floats:
        n, k = len(self.data), sets.shape[1]
        log_determinants = _log_determinants(self._covariance, sets)
        log_likelihood = -n / 2 * (k * math.log(2 * math.pi) + log_determinants + k)
        return log_likelihood - math.log(n) / 2 * (k + k * (k + 1) / 2)

    @cached_property
    def _covariance(self) -> Floats:
        centred = self.data - self.data.mean(axis=0)
        return centred.T @ centred / len(self.data)


@dataclass(frozen=True)
class BDeu:
    """The Bayesian Dirichlet equivalent uniform score (Buntine 1991; Heckerman et al. 1995).

    With q the number of combinations of levels that the columns of a set can have, α the
    equivalent sample size and n_c the observations of combination c,

        F = log Γ(α) − log Γ(α + N) + Σ_c log Γ(α/q + n_c) − log Γ(α/q).

    Attributes:
        codes: int64 (N, d), levels 0, 1, …
        equivalent_sample_size: α, above 0.
    """

    codes: NDArray[np.int64]
    equivalent_sample_size: float

    def __call__(self, sets: Sets) -> Floats:
        (m, k), n = sets.shape, len(self.codes)
        levels = self.codes.max(axis=0) + 1
        cells = np.zeros((m, n), dtype=np.int64)  # which combination an observation shows
        bound = 1
        for i in range(k):
            bound *= int(levels[sets[:, i]].max())
            if bound >= 2**62:  # int64 would overflow; the combinations that occur are at most n
                cells, bound = _ranks(cells), n * int(levels[sets[:, i]].max())
            cells = cells * levels[sets[:, i], None] + self.codes.T[sets[:, i]]
        cells.sort(axis=1)
        # Γ(a + n)/Γ(a) = a·(a + 1)···(a + n − 1): the r-th observation of a combination, counted
        # from 0, contributes log(a + r).
        places = np.arange(n)
        starts = np.ones((m, n), dtype=bool)
        np.not_equal(cells[:, 1:], cells[:, :-1], out=starts[:, 1:])
        rank = places - np.maximum.accumulate(np.where(starts, places, 0), axis=1)
        a = self.equivalent_sample_size / levels.astype(np.float64)[sets].prod(axis=1)
        total = np.log(self.equivalent_sample_size + places).sum()
        return np.log(a[:, None] + rank).sum(axis=1) - total


class LocalScores:
    """A table of F over sets of columns, filled up front where they are few, else on demand.

    Args:
        set_score: F.
        d: number of columns.
        observations: N, which decides how many sets are computed at a time.
        largest: columns of the largest set that will be asked for.
        workers: processes that compute all sets up front where they are not few; 0: none, each
            set is computed when it is asked for.

    Raises:
        ValueError: more sets than workers may compute.
    """

    def __init__(
        self, set_score: SetScore, d: int, observations: int, largest: int, workers: int = 0
    ):
        self.set_score, self.d = set_score, d
        self._at_once = max(1, AT_ONCE // max(observations, d * d))
        self._dense: Floats | None = None
        self._known: dict[int, float] = {0: 0.0}
        if d <= DENSE:
            self._dense = np.full(2**d, np.nan)
            self._dense[0] = 0.0
        self._count = count = sum(math.comb(d, k) for k in range(largest + 1))
        if count <= UP_FRONT and count * observations <= UP_FRONT_WORK:
            for members in self._all_sets(largest):
                self._store(members, self.set_score(members))
        elif workers:
            self._compute_in(workers, largest, count)

    def _all_sets(self, largest: int) -> Iterator[Sets]:
        """Every set of 1 to ``largest`` columns, some of the same size at a time."""
        for k in range(1, largest + 1):
            sets = combinations(range(self.d), k)
            while part := list(islice(sets, self._at_once)):
                yield np.array(part, dtype=np.int64)

    def _compute_in(self, workers: int, largest: int, count: int) -> None:
        if count > MOST:
            raise ValueError(
                f"workers={workers}: {count} sets of columns are too many to be computed up front, "
                f"at most {MOST}: set max_parents, or leave workers at 0"
            )
        context = multiprocessing.get_context("spawn")  # a fork of torch's threads may hang
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            parts = self._all_sets(largest)
            while batch := list(islice(parts, 4 * workers)):
                for members, values in zip(batch, pool.map(self.set_score, batch), strict=True):
                    self._store(members, values)

    def __call__(self, sets: Bits) -> Floats:
        """Return F of sets of any size, int64 (…) → float64 (…)."""
        if self._dense is None:
            unique, inverse = np.unique(sets, return_inverse=True)
            self._compute([s for s in unique.tolist() if s not in self._known])
            return np.array([self._known[s] for s in unique.tolist()])[inverse.reshape(sets.shape)]
        values = self._dense.take(sets)
        missing = np.isnan(values)
        if missing.any():
            self._compute(np.unique(sets[missing]).tolist())
            values = self._dense.take(sets)
        return values

    @property
    def filled(self) -> int:
        """How many sets are known, the empty one included."""
        if self._dense is None:
            return len(self._known)
        return int(np.count_nonzero(~np.isnan(self._dense)))

    @property
    def complete(self) -> bool:
        """Whether every set that will be asked for is known, and :meth:`table` has them."""
        return self._dense is not None and self.filled >= self._count

    def table(self) -> Floats:
        """Return F of every set, float64 (2^d,), NaN where it is not known.

        Raises:
            ValueError: more than 22 columns.
        """
        if self._dense is None:
            raise ValueError(f"there is no table of sets of {self.d} columns, at most {DENSE}")
        return self._dense.copy()

    def local(self, nodes: NDArray[np.int64], parents: Bits) -> Floats:
        """Return score(node | parents), float64, of arrays that broadcast."""
        return self(parents | (1 << nodes)) - self(parents)

    def graph(self, parents: Bits) -> Floats:
        """Return the scores of graphs given by their parent sets, (n, d) → float64 (n,)."""
        return self.local(np.arange(self.d), parents).sum(axis=1)

    def _compute(self, sets: list[int]) -> None:
        by_size: dict[int, list[int]] = {}
        for s in sets:
            by_size.setdefault(s.bit_count(), []).append(s)
        for same in by_size.values():
            for start in range(0, len(same), self._at_once):
                part = same[start : start + self._at_once]
                members = np.array([[i for i in range(self.d) if s >> i & 1] for s in part])
                self._store(members, self.set_score(members))

    def _store(self, members: Sets, values: Floats) -> None:
        places = (1 << members).sum(axis=1)
        if self._dense is None:
            self._known.update(zip(places.tolist(), values.tolist(), strict=True))
        else:
            self._dense[places] = values


def check_enough(data: Floats, names: tuple[str, ...], most_parents: int) -> None:
    """Raise a ValueError where a regression on ``most_parents`` columns would leave no residual.

    BIC's likelihood is then infinite: constant columns, fewer observations than coefficients, or
    columns that determine one another, of which this finds pairs, and more where a node may have
    all others as parents; the rest is found when it is scored.
    """
    n = len(data)
    constant = [name for name, column in zip(names, data.T, strict=True) if np.ptp(column) == 0]
    if constant:
        raise ValueError(f"data: columns {constant} are constant; score='bic' cannot use them")
    if n < most_parents + 2:
        raise ValueError(
            f"data has {n} observations; score='bic' needs at least {most_parents + 2} for up to "
            f"{most_parents} parents a node: set max_parents, or take score='bge'"
        )
    scaled = (data - data.mean(axis=0)) / data.std(axis=0)
    correlations = np.triu(scaled.T @ scaled / n, k=1)
    same = np.argwhere(1 - correlations**2 < UNEXPLAINED)
    if len(same):
        pair = [names[i] for i in same[0]]
        raise ValueError(f"data: columns {pair} determine one another exactly; leave one out")
    if most_parents == len(names) - 1:
        GaussianBIC(data)(np.arange(len(names))[None])


def _ranks(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the different values of each row 0, 1, … in rising order."""
    order = np.argsort(cells, axis=1)
    ordered = np.take_along_axis(cells, order, axis=1)
    rank = np.zeros_like(cells)
    rank[:, 1:] = np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1)
    result = np.empty_like(cells)
    np.put_along_axis(result, order, rank, axis=1)
    return result


def _log_determinants(matrix: Floats, sets: Sets) -> Floats:
    """Return log|M_SS| of principal submatrices, sets (m, k) → float64 (m,).

    M is scaled to a unit diagonal first, so that a squared pivot of Cholesky's factor is the share
    of a column that those before it leave unexplained, 1 − R².

    Raises:
        ValueError: columns determine one another, up to rounding.
    """
    scale = np.sqrt(np.diagonal(matrix))
    unit = matrix / np.outer(scale, scale)
    try:
        factors = np.linalg.cholesky(unit[sets[:, :, None], sets[:, None, :]])
    except np.linalg.LinAlgError as error:
        raise ValueError(COLLINEAR) from error
    pivots = np.diagonal(factors, axis1=1, axis2=2)
    if (pivots**2 < UNEXPLAINED).any():
        raise ValueError(COLLINEAR)
    return np.asarray(2 * (np.log(pivots) + np.log(scale)[sets]).sum(axis=1))


UNEXPLAINED = 1e-11  # least 1 − R² of which rounding leaves enough digits
COLLINEAR = (
    "data: some columns determine one another exactly, so that the score is infinite or has no "
    "digits left; leave one out, set max_parents, or rescale the data"
)

SCORES = ("bge", "bic", "bde")

LogPrior = Callable[[NDArray[np.bool_]], Floats]
"""Graphs, bool (n, d, d) → log prior up to a constant, float64 (n,)."""
