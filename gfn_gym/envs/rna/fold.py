"""RNA that folds: secondary structures of a sequence, whose log Z is known at any length."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many
from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from gfn_gym.arguments import number
from gfn_gym.dag import DAG, Actions, Floats, Mask, Observation, States
from gfn_gym.envs.rna.bases import read_bases
from gfn_gym.envs.rna.energy import Ensemble
from gfn_gym.envs.rna.fold_render import render_ansi, render_rgb

DEFAULT_SEQUENCE = "GCUUGGGGGAUGGAACAGGCGCCACCUACU"
"""30 bases with three unlike folds of 0.34, 0.28 and 0.28 of the ensemble, near ones included."""

PAIRS = {"GC", "CG", "AU", "UA", "GU", "UG"}
LEAST_HAIRPIN = 3  # bases between two that pair
LARGEST_EXPONENT = 20.0  # pf() agrees with enumeration up to 30, and gives NaN from 40 on at 0 °C


class RNAFold(DAG):
    """Secondary structures of a sequence of N bases, put together base pair by base pair.

    ## Description
    A state is a set of base pairs (GC, AU or GU, at least three bases between) in which no base
    has two partners and no two pairs cross; finished objects are all such sets, the open chain
    among them. Row i holds the partner of base i, counted from 1, or 0 where it has none; rows are
    int16 (n, N). P(structure) = R/Z is the Boltzmann ensemble, so log Z and the probability of
    every base pair are known from McCaskill's recursion at any length, by ViennaRNA (Lorenz et al.
    2011, doi:10.1186/1748-7188-6-26).

    ## Action Space
    ``Discrete(P + 1)`` for P pairs that the sequence allows: action p adds pair p of ``pairs``,
    legal where both bases are free and no pair of the structure is crossed; action P stops, and is
    always legal. ``info["action_mask"]`` tells the legal ones. Backward action p removes pair p.

    ## Observation Space
    ``Box(0, 1, (N·(N + 1),), float32)``: the one-hot partners; ``observation="state"`` gives
    ``MultiDiscrete([N + 1] * N)``, ``observation="pairs"`` which pairs there are,
    ``Box(0, 1, (P,), float32)``. Stopping does not change it.

    ## Rewards
    Adding a pair earns log P_B = −log(number of pairs in s') under the uniform backward policy;
    stopping earns log R(x) = −reward_exponent·E(x)/kT, E the energy by ``eval_structure``.

    ## Starting State
    The open chain.

    ## Episode End
    The stop action terminates the episode; nothing truncates it.

    ## Arguments
    - ``sequence``: of the letters ACGU; by default :data:`DEFAULT_SEQUENCE`.
    - ``temperature=37.0``: in °C, of the energies and of kT.
    - ``reward_exponent=1.0``: β, positive, at most 20: beyond, ``pf()`` runs out of floats.

    ## Version History
    - v0: initial version.

    Attributes:
        sequence: see above.
        pairs: int64 (P, 2), the pairs (i, j), i < j, counted from 0.
        ensemble: the :class:`.energy.Ensemble`, whose ``log_partition_correction()`` tells how far
            ``log_partition()`` is from log Σ R where loops of more than 30 unpaired bases fit.
    """

    render_modes: ClassVar[Many[str]] = ("ansi", "rgb_array")

    def __init__(
        self,
        sequence: str = DEFAULT_SEQUENCE,
        temperature: float = 37.0,
        reward_exponent: float = 1.0,
    ):
        self.sequence = read_bases("sequence", sequence)
        temperature = number("temperature", temperature, least=0, most=100)
        self.reward_exponent = number(
            "reward_exponent", reward_exponent, above=0, most=LARGEST_EXPONENT
        )
        self.ensemble = Ensemble(self.sequence, temperature, self.reward_exponent)
        self.pairs = _allowed_pairs(self.sequence)
        if not len(self.pairs):
            raise ValueError(
                f"sequence={sequence!r} has no two bases that can pair: GC, AU or GU with at least "
                f"{LEAST_HAIRPIN} bases between"
            )
        self._first, self._second = np.ascontiguousarray(self.pairs.T)
        n_bases, n_pairs = len(self.sequence), len(self.pairs)
        self._numbers = np.arange(1, n_bases + 1, dtype=np.int16)  # bases, counted from 1
        self.state_space = spaces.MultiDiscrete([n_bases + 1] * n_bases, dtype=np.int16)
        self.n_actions, self.n_backward_actions = n_pairs + 1, n_pairs
        self.stop_action: int = n_pairs

    def __repr__(self) -> str:
        power = "" if self.reward_exponent == 1 else f", reward_exponent={self.reward_exponent}"
        warm = self.ensemble.temperature
        return f"RNAFold({self.sequence!r}, temperature={warm}{power})"

    def structure(self) -> tuple[Any, ...]:
        return *super().structure(), self.sequence

    # ---- construction -----------------------------------------------------------------------

    def initial_states(self, n: int) -> States:
        return np.zeros((n, len(self.sequence)), dtype=np.int16)

    # Masks are made pair by pair, (P, n), and handed out transposed: bases and pairs are picked as
    # whole rows of contiguous memory, which is several times faster than as columns.

    def action_mask(self, states: States) -> Mask:
        mask = np.ones((self.n_actions, len(states)), dtype=bool)
        loops = self._loops(states)
        np.equal(loops[self._first], loops[self._second], out=mask[:-1])
        return mask.T

    def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
        stops = np.asarray(actions == self.stop_action)
        nexts, rows = states.copy(), np.flatnonzero(~stops)
        first, second = self._first[actions[rows]], self._second[actions[rows]]
        nexts[rows, first], nexts[rows, second] = second + 1, first + 1
        return nexts, stops

    def _loops(self, states: States) -> NDArray[np.int32]:
        """The loop in which each free base lies, (N, n): two of one loop may pair.

        A base lies in the loop of its left neighbour b where that is free, in that of b's partner
        where b closes a pair, in a new one where b opens one. Following these pointers, twice as
        far each round, every base finds the b that opened its loop, or 0 outside all pairs.
        Bases that have a partner get numbers of their own.
        """
        n_bases, n = len(self.sequence), len(states)
        numbers = np.arange(1, n_bases + 1)[:, None]  # bases, from 1 as partners are: (N, 1)
        partners = np.ascontiguousarray(states.T, dtype=np.int64)  # (N, n)
        # Node b, up to N, stands for the loop in which base b lies, N + b for the one it opens.
        nodes = np.empty((2 * n_bases + 1, n), dtype=np.int64)
        nodes[:2] = 0
        np.copyto(nodes[2 : n_bases + 1], np.where(partners == 0, numbers, partners)[:-1])
        np.copyto(nodes[2 : n_bases + 1], n_bases + numbers[:-1], where=(partners > numbers)[:-1])
        nodes[n_bases + 1 :] = n_bases + numbers
        nodes = nodes * n + np.arange(n)  # where each node stands in the flattened array
        flat, loops = nodes.reshape(-1), nodes[1 : n_bases + 1]
        for _ in range(n_bases.bit_length()):
            loops[:] = flat[loops]
        return np.where(partners == 0, loops, -numbers).astype(np.int32)

    # ---- deconstruction ---------------------------------------------------------------------

    def backward_mask(self, states: States) -> Mask:
        partners = np.ascontiguousarray(states.T)
        return np.equal(partners[self._first], self._numbers[self._second, None]).T

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        parents, rows = states.copy(), np.arange(len(states))
        parents[rows, self._first[backward_actions]] = 0
        parents[rows, self._second[backward_actions]] = 0
        return parents

    def backward_action(self, states: States, actions: Actions) -> Actions:
        return actions

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        return backward_actions

    # ---- reward -----------------------------------------------------------------------------

    def log_reward(self, states: States) -> Floats:
        """Return −reward_exponent·E/kT, float64 (n,)."""
        return self.ensemble.log_weights(self.format(states))

    def potential(self, states: States) -> Floats:
        """Return Φ = −reward_exponent·E/kT of unfinished structures, float64 (n,); 0 in s0."""
        return self.log_reward(states)

    def log_partition(self) -> float:
        """Return log Z by ViennaRNA's ``pf()``, in double precision.

        Where a loop of more than 30 unpaired bases fits into the sequence (34 bases), add
        ``ensemble.log_partition_correction()`` for log Σ R.
        """
        return self.ensemble.log_partition()

    def energies(self, states: States) -> Floats:
        """Return E in kcal/mol, float64 (n,)."""
        return self.ensemble.energies(self.format(states))

    # ---- what other libraries see -----------------------------------------------------------

    def other_observations(self) -> Mapping[str, Observation]:
        space = spaces.Box(0.0, 1.0, shape=(len(self.pairs),), dtype=np.float32)
        observe = partial(_as_floats, self)
        return {"pairs": Observation(space, observe)}

    # ---- base pairs -------------------------------------------------------------------------

    def pair_probabilities(self) -> Floats:
        """Return the exact probability of each of ``pairs``, float64 (P,), by ``bpp()``."""
        return self.ensemble.base_pair_probabilities()[self._first, self._second]

    def pair_frequencies(self, states: States, weights: ArrayLike | None = None) -> Floats:
        """Return the share of structures that have each of ``pairs``, float64 (P,).

        Args:
            states: (n, N), samples, or all structures.
            weights: (n,), for instance their probabilities; by default they count alike.
        """
        given = np.ones(len(states)) if weights is None else np.asarray(weights, dtype=np.float64)
        if given.shape != (len(states),) or not given.sum() > 0 or given.min() < 0:
            raise ValueError(f"weights={weights!r} must be {len(states)} numbers, not all 0")
        return given @ self.backward_mask(states) / given.sum()

    # ---- dot-bracket ------------------------------------------------------------------------

    def format(self, states: States) -> list[str]:
        """Return states (n, N) as strings in dot-bracket."""
        codes = np.where(
            states == 0, ord("."), np.where(states > self._numbers, ord("("), ord(")"))
        )
        characters = np.ascontiguousarray(codes, dtype=np.uint32)
        written: list[str] = characters.view(f"U{len(self.sequence)}")[:, 0].tolist()
        return written

    def parse(self, structures: Many[str]) -> States:
        """Return n structures in dot-bracket as states, int16 (n, N).

        Raises:
            TypeError: not a list of strings.
            ValueError: one is not a structure of this sequence; the message names it.
        """
        if isinstance(structures, str):
            raise TypeError(f"structures={structures!r} must be a list, even of one")
        states = self.initial_states(len(structures))
        allowed = set(map(tuple, self.pairs.tolist()))
        for place, structure in enumerate(structures):
            name = f"structures[{place}]={structure!r}"
            if not isinstance(structure, str) or len(structure) != len(self.sequence):
                raise ValueError(f"{name} must be a string of {len(self.sequence)} characters .()")
            for i, j in _read_pairs(name, structure):
                if (i, j) not in allowed:
                    pair = f"{self.sequence[i]}{i + 1} and {self.sequence[j]}{j + 1}"
                    raise ValueError(f"{name} pairs {pair}, which cannot pair")
                states[place, i], states[place, j] = j + 1, i + 1
        return states

    # ---- drawing ----------------------------------------------------------------------------

    def render(self, trajectory: States, mode: str) -> Any:
        """Draw the last state: in dot-bracket with its energy, or in pixels its pairs as arcs."""
        if mode not in self.render_modes:
            raise ValueError(f"render mode {mode!r} is not one of {list(self.render_modes)}")
        energy = float(self.energies(trajectory[-1:])[0])
        if mode == "ansi":
            return render_ansi(self.sequence, self.format(trajectory[-1:])[0], energy)
        before = trajectory[-2] if len(trajectory) > 1 else trajectory[-1]
        present, old = self.backward_mask(np.stack([trajectory[-1], before]))
        return render_rgb(self.sequence, self.pairs[present], self.pairs[present & ~old], energy)


def _as_floats(dag: RNAFold, states: States) -> NDArray[np.float32]:
    return dag.backward_mask(states).astype(np.float32)


def _allowed_pairs(sequence: str) -> NDArray[np.int64]:
    n = len(sequence)
    pairs = [
        (i, j)
        for i in range(n)
        for j in range(i + LEAST_HAIRPIN + 1, n)
        if sequence[i] + sequence[j] in PAIRS
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _read_pairs(name: str, structure: str) -> list[tuple[int, int]]:
    pairs, waiting = [], []
    for place, character in enumerate(structure):
        if character == "(":
            waiting.append(place)
        elif character == ")":
            if not waiting:
                raise ValueError(f"{name} closes a pair at {place + 1} that was not opened")
            pairs.append((waiting.pop(), place))
        elif character != ".":
            raise ValueError(f"{name} has {character!r} at {place + 1}; dot-bracket is made of .()")
    if waiting:
        raise ValueError(f"{name} opens a pair at {waiting[-1] + 1} that is not closed")
    return pairs
