"""What designers ask of a sampler of words: modes, the best ones, how unlike they are.

Words are compared by the number of positions in which they differ ("hamming", where a missing
token differs from any other) or by the least number of tokens to insert, delete or replace
("edit", Levenshtein's distance, by rapidfuzz).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.arguments import choice, whole
from gfn_gym.dag import Floats, Mask, States
from gfn_gym.envs.sequence.dag import Sequence as Words
from gfn_gym.mdp import log_reward_of

APART = 3
"""Words at least this far from each other are different modes, unless something else is said."""
METRICS = ("hamming", "edit")

Distances = NDArray[np.int64]


# ---- distances ------------------------------------------------------------------------------


def distances(dag: Words, first: States, second: States, metric: str = "hamming") -> Distances:
    """Return the distances of n words from m others, int64 (n, m).

    Args:
        dag: whose words.
        first: finished states (n, L).
        second: finished states (m, L).
        metric: "hamming" or "edit".

    Raises:
        ValueError: another metric.
        ImportError: rapidfuzz is missing, which "edit" needs.
    """
    if choice("metric", metric, METRICS) == "hamming":
        return dag.distances(first, second)
    try:
        from rapidfuzz import process
        from rapidfuzz.distance import Levenshtein
    except ImportError as error:
        raise ImportError(
            "metric='edit' needs rapidfuzz: pip install 'gfn-gym[sequences]'"
        ) from error
    one, other = (_characters(dag, states) for states in (first, second))
    if not one or not other:
        return np.zeros((len(one), len(other)), dtype=np.int64)
    found: Distances = process.cdist(one, other, scorer=Levenshtein.distance).astype(np.int64)
    return found


def _characters(dag: Words, states: States) -> list[str]:
    """A character a token, so that tokens of several letters count once."""
    return ["".join(map(chr, row[row != dag.empty] + 1)) for row in states]


def diversity(dag: Words, states: States, metric: str = "hamming") -> float:
    """Return the mean distance over all pairs of finished states (n, L).

    NaN where there are fewer than two.

    Raises:
        ValueError, ImportError: as :func:`distances`.
    """
    n = len(states)
    if n < 2:
        return float("nan")
    return float(distances(dag, states, states, metric).sum() / (n * (n - 1)))


# ---- the best -------------------------------------------------------------------------------


@dataclass(slots=True)
class Found:
    """n distinct words, best first.

    Attributes:
        words: as strings.
        scores: float64 (n,), what the function, table or landscape says of them.
        log_reward: float64 (n,).
        states: (n, L).
    """

    words: list[str]
    scores: Floats
    log_reward: Floats
    states: States

    def __len__(self) -> int:
        return len(self.words)

    def take(self, places: Sequence[int]) -> Found:
        """Those at the given places, in that order."""
        chosen = np.array(places, dtype=np.int64)
        words = [self.words[place] for place in places]
        return Found(words, self.scores[chosen], self.log_reward[chosen], self.states[chosen])


def scores_of(dag: Words, states: States) -> Floats:
    """Return what the function, table or landscape says of finished states (n, L), (n,)."""
    return dag.reward.values(dag.format(states))


def top_words(dag: Words, states: States, k: int | None = None) -> Found:
    """Return the k words of highest log R among finished states (n, L); all of them with None.

    Raises:
        ValueError: k below 1.
    """
    k = len(states) if k is None else whole("k", k, least=1)
    states = np.unique(states, axis=0)
    log_reward = log_reward_of(dag, states)
    best = np.argsort(-log_reward, kind="stable")[:k]
    states = states[best]
    return Found(dag.format(states), scores_of(dag, states), log_reward[best], states)


def diverse_words(
    dag: Words,
    states: States,
    threshold: float = -np.inf,
    apart: int = APART,
    metric: str = "hamming",
    k: int | None = None,
) -> Found:
    """Return the modes among finished states (n, L): good words, unlike each other.

    Greedily by log R: a word with a score of at least ``threshold`` is a mode if its distance
    from all earlier ones is at least ``apart``. With k, at most the first k.

    Raises:
        ValueError, ImportError: apart below 1, or as :func:`distances`.
    """
    found, modes = top_words(dag, states), _Apart(dag, apart, metric)
    places = list[int]()
    for place in np.flatnonzero(found.scores >= threshold).tolist():
        if k is not None and len(places) == k:
            break
        if modes.add(found.states[place]):
            places.append(place)
    return found.take(places)


class WordModes:
    """Counts the modes among words that are shown a few at a time, as training finds them.

    Of what is shown at once the highest score comes first; a word that scores at least
    ``threshold`` and is at least ``apart`` from all modes so far is one. As the order of finding
    decides, the count may differ a little from :func:`diverse_words` of all at once. To be given
    to :class:`gfn_gym.agents.ModesCallback`.

    Args:
        dag: whose words.
        threshold: of the score.
        apart: least distance of two modes.
        metric: "hamming" or "edit".

    Attributes:
        states: a list of rows (L,), the modes in the order of finding.
    """

    def __init__(self, dag: Words, threshold: float, apart: int = APART, metric: str = "hamming"):
        self.dag, self.threshold = dag, threshold
        self.states: list[States] = []
        self._modes = _Apart(dag, apart, metric)
        self._seen: set[bytes] = set()  # good ones; to show them again changes nothing

    def __len__(self) -> int:
        """How many modes were found."""
        return len(self.states)

    def add(self, states: States) -> None:
        """Look at finished states (n, L)."""
        if not len(states):
            return
        scores = scores_of(self.dag, states)
        good = np.flatnonzero(scores >= self.threshold)
        for place in good[np.argsort(-scores[good], kind="stable")].tolist():
            key = states[place].tobytes()
            if key not in self._seen:
                self._seen.add(key)
                if self._modes.add(states[place]):
                    self.states.append(states[place].copy())

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: the modes."""
        return {"states": np.array(self.states)}  # one array, however many modes

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.states, self._seen = list(state["states"]), set()
        self._modes = _Apart(self.dag, self._modes.apart, self._modes.metric)
        for row in self.states:
            self._modes.add(row)


class BestWords:
    """Remembers the best of the words that are shown a few at a time.

    To be given to :class:`gfn_gym.agents.ModesCallback`, as the words that training finds are
    often better than what the sampler draws at its end.

    Args:
        dag: whose words.
        k: how many are remembered.

    Attributes:
        states: (n, L), best first, n at most k.
        scores: float64 (n,).
    """

    def __init__(self, dag: Words, k: int = 1000):
        self.dag, self.k = dag, whole("k", k, least=1)
        self.states, self.scores = dag.initial_states(0), np.empty(0)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self.states)

    def add(self, states: States) -> None:
        """Look at finished states (n, L)."""
        scores = scores_of(self.dag, states)
        if len(self) == self.k:
            better = scores > self.scores[-1]
            states, scores = states[better], scores[better]
        if len(states):
            both = np.concatenate([self.states, states])
            _, first = np.unique(both, axis=0, return_index=True)
            scores = np.concatenate([self.scores, scores])
            best = first[np.argsort(-scores[first], kind="stable")][: self.k]
            self.states, self.scores = both[best], scores[best]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: the words."""
        return {"states": self.states, "scores": self.scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.states, self.scores = state["states"], state["scores"]


class _Apart:
    """Words, no two of them nearer to each other than ``apart``."""

    def __init__(self, dag: Words, apart: int, metric: str):
        self.dag, self.apart = dag, whole("apart", apart, least=1)
        self.metric = choice("metric", metric, METRICS)
        self._rows = dag.initial_states(64)  # doubled when full
        self._n = 0

    def add(self, row: States) -> bool:
        """Add a word (L,) unless it is near an earlier one; whether it was added."""
        earlier = self._rows[: self._n]
        if (distances(self.dag, row[None], earlier, self.metric) < self.apart).any():
            return False
        if self._n == len(self._rows):
            self._rows = np.concatenate([self._rows, self._rows])
        self._rows[self._n] = row
        self._n += 1
        return True


# ---- local optima ---------------------------------------------------------------------------


def are_local_optima(
    dag: Words, states: States, scores: Callable[[list[str]], Floats] | None = None
) -> Mask:
    """Return which finished states (n, L) score higher than every word that differs in one token.

    There are L·(A − 1) such words. Position by position, they are asked for as long as none has
    scored as much, which for most words is soon.

    Args:
        dag: whose words.
        states: finished, (n, L).
        scores: a list of words → scores; by default those of the DAG, which then counts and
            remembers the neighbours as it does all words that it is asked for.

    Returns:
        bool (n,). A word that only ties with a neighbour is not one.
    """
    ask = dag.reward.values if scores is None else scores
    own = np.asarray(ask(dag.format(states)))
    optimal = np.ones(len(states), dtype=bool)
    for position in range(states.shape[1]):
        left = np.flatnonzero(optimal & (states[:, position] != dag.empty))
        around = _changed(dag, states[left], position)
        theirs = np.asarray(ask(dag.format(around.reshape(-1, states.shape[1]))))
        best = theirs.reshape(around.shape[:2]).max(axis=1)
        optimal[left] = best < own[left]
    return optimal


def _changed(dag: Words, states: States, position: int) -> States:
    """The words (n, A − 1, L) that differ from states (n, L) at a position that is not empty."""
    size = dag.alphabet.size
    others = np.repeat(states[:, None], size - 1, axis=1)
    others[..., position] = (others[..., position] + np.arange(1, size)) % size
    return others
