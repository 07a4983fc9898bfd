"""Bit sequences: the paper's second domain, where the difficulty is to find all the modes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gfn_gym.arguments import number, whole
from gfn_gym.dag import DAG, Actions, Floats, Mask, States
from gfn_gym.envs.bit_sequence_render import characters, render_ansi, render_rgb

PIECES = ("00000000", "11111111", "11110000", "00001111", "00111100")
"""What modes are made of (Malkin et al. 2022, arXiv:2201.13259)."""

LARGEST_K = 14  # 16,384 words
ROWS_AT_ONCE = 4096  # so that distances of many states to many modes need little memory

Packed = NDArray[np.uint64]
"""(n, lanes): bits in lanes of 64, the unused ones 0."""


class BitSequence(DAG):
    """Strings of ``n`` bits, written word by word in any order, with reward near hidden modes.

    ## Description
    A state is a row of n/k words of k bits, each a number 0…2^k − 1 with its most significant bit
    first, or 2^k where the position is still empty. The construction starts with all positions
    empty and fills one a step, in any order; the last word ends it (Tiapkin et al. 2024,
    arXiv:2310.12934; with other orders Malkin et al. 2022, arXiv:2201.13259). Rows are int32
    (m, n/k).

    ## Action Space
    ``Discrete(n/k · 2^k)``: action position·2^k + word writes the word at the position; legal
    where it is empty. There is no stop action. ``info["action_mask"]`` tells the legal ones.

    ## Observation Space
    ``Box(0, 1, (n/k · (2^k + 1),), float32)``: the one-hot words one after another;
    ``observation="state"`` gives ``MultiDiscrete([2^k + 1] * (n/k))``.

    ## Rewards
    A step to s' earns log P_B = −log(number of words in s') under the uniform backward policy.
    The last one also earns log R(x) = −reward_exponent·min_m Hamming(x, m) over the modes m.

    ## Starting State
    All positions empty.

    ## Episode End
    The word that fills the last position terminates the episode; nothing truncates it.

    ## Arguments
    - ``n=120``: number of bits; a multiple of k, and of 8 unless modes are given.
    - ``k=8``: bits of a word, from 1 to 14.
    - ``reward_exponent=2.0``: finite and positive.
    - ``n_modes=60``: how many modes are drawn, with repetition, each of n/8 pieces from 00000000,
      11111111, 11110000, 00001111, 00111100: those that the paper's code draws from this seed.
      The list keeps duplicates; metrics count them once.
    - ``mode_threshold=None``: a mode is found by an object
      within this many bits of it; n//4 by default.
    - ``seed=0``: of the drawn modes.
    - ``modes=None``: a list of your own bit strings, each of length n, instead of drawn ones.

    ## Version History
    - v0: initial version.

    Attributes:
        modes: int32 (n_modes, n/k), the modes as states.
        mode_threshold: see above.
    """

    render_modes: ClassVar[Sequence[str]] = ("ansi", "rgb_array")
    stop_action: int | None = None

    def __init__(
        self,
        n: int = 120,
        k: int = 8,
        reward_exponent: float = 2.0,
        n_modes: int = 60,
        mode_threshold: int | None = None,
        seed: int = 0,
        modes: Sequence[str] | None = None,
    ):
        self.n, self.k = whole("n", n, least=1), whole("k", k, least=1)
        if self.n % self.k:
            raise ValueError(f"k={k!r} must divide n={n!r}: a sequence is a row of words of k bits")
        if self.k > LARGEST_K:
            raise ValueError(f"k={k!r} must be at most {LARGEST_K}, or actions are too many")
        self.reward_exponent = number("reward_exponent", reward_exponent, above=0)
        self.mode_threshold = _threshold(mode_threshold, self.n)
        self.n_positions, self.n_words = self.n // self.k, 2**self.k
        self.empty = self.n_words
        # Row w holds the bits of word w; those of an empty position are not looked at.
        shifts = np.arange(self.k - 1, -1, -1)
        self._bits_of_word = ((np.arange(self.n_words + 1)[:, None] >> shifts) & 1).astype(bool)

        self.state_space = spaces.MultiDiscrete(
            [self.n_words + 1] * self.n_positions, dtype=np.int32
        )
        self.n_actions = self.n_positions * self.n_words
        self.n_backward_actions = self.n_positions
        given = draw_modes(self.n, n_modes, seed) if modes is None else modes
        self.modes: States = self._parse("modes", given)
        self._packed_modes = _pack(self.bits(self.modes))
        self.similar_distance = max(1, self.n // 5)  # less than most modes are apart

    def __repr__(self) -> str:
        return f"BitSequence(n={self.n}, k={self.k}, {len(self.modes)} modes)"

    # ---- construction -----------------------------------------------------------------------

    def initial_states(self, n: int) -> States:
        return np.full((n, self.n_positions), self.empty, dtype=np.int32)

    def action_mask(self, states: States) -> Mask:
        return np.repeat(states == self.empty, self.n_words, axis=1)

    def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
        nexts = states.copy()
        nexts[np.arange(len(states)), actions >> self.k] = actions & (self.n_words - 1)
        return nexts, (nexts != self.empty).all(axis=1)

    # ---- deconstruction ---------------------------------------------------------------------

    def backward_mask(self, states: States) -> Mask:
        return np.asarray(states != self.empty)

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        parents = states.copy()
        parents[np.arange(len(states)), backward_actions] = self.empty
        return parents

    def backward_action(self, states: States, actions: Actions) -> Actions:
        return actions >> self.k

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        words = states[np.arange(len(states)), backward_actions]
        return (backward_actions << self.k) + words

    # ---- reward -----------------------------------------------------------------------------

    def log_reward(self, states: States) -> Floats:
        """Return −reward_exponent·min_m Hamming(x, m) of finished states, float64 (m,)."""
        return -self.reward_exponent * self.mode_distances(states).min(axis=1)

    def potential(self, states: States) -> Floats:
        """Return −reward_exponent·min_m Hamming over the words that are filled, float64 (m,)."""
        return self.log_reward(states)

    def distances(self, states: States, others: States) -> NDArray[np.int64]:
        """Return the Hamming distances of finished states (m, n/k) to others (l, n/k), (m, l)."""
        ours, theirs = _pack(self.bits(states)), _pack(self.bits(others))
        return count_bits(ours[:, None] ^ theirs[None])

    def mode_distances(self, states: States) -> NDArray[np.int64]:
        """Return the Hamming distances to all modes, int64 (m, n_modes).

        Of unfinished states (m, n/k) the words that are there are compared.
        """
        distances = np.empty((len(states), len(self.modes)), dtype=np.int64)
        for start in range(0, len(states), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            filled = _pack(np.repeat(states[rows] != self.empty, self.k, axis=1))
            words = _pack(self.bits(states[rows]))
            differ = (words[:, None] ^ self._packed_modes) & filled[:, None]
            distances[rows] = count_bits(differ)
        return distances

    def max_trajectory_length(self) -> int:
        """Return n/k, the length of every trajectory."""
        return self.n_positions

    def log_partition(self) -> float | None:
        """Return log Z = n·log(1 + e^−β) where all modes are the same one, else None.

        β is ``reward_exponent``. With several modes, log(number of distinct ones) plus that is an
        upper bound, and close where they lie far apart.
        """
        if len(np.unique(self.modes, axis=0)) > 1:
            return None
        return self.n * math.log1p(math.exp(-self.reward_exponent))

    def n_states(self) -> int:
        """Return (2^k + 1)^(n/k): each position holds a word or none."""
        return int((self.n_words + 1) ** self.n_positions)

    def default_invalid_reward(self) -> float:
        """Return −β·n − log (n/k)! − 1, or −100 where that is lower: below every return."""
        least = -self.reward_exponent * self.n - math.lgamma(self.n_positions + 1)
        return min(super().default_invalid_reward(), least - 1.0)

    # ---- bits -------------------------------------------------------------------------------

    def bits(self, states: States) -> NDArray[np.bool_]:
        """Return the bits of states (m, n/k), bool (m, n); an empty position's are False."""
        return self._bits_of_word[states].reshape(len(states), self.n)

    def states_of_bits(self, bits: NDArray[np.bool_]) -> States:
        """Return the states of finished bits (m, n), int32 (m, n/k)."""
        words = bits.reshape(len(bits), self.n_positions, self.k)
        return (words @ (1 << np.arange(self.k - 1, -1, -1))).astype(np.int32)

    def parse(self, strings: Sequence[str]) -> States:
        """Return the states of m bit strings of length n, int32 (m, n/k).

        Raises:
            ValueError: not a list of strings, or one is not n characters 0 or 1, which the
                message names.
        """
        return self._parse("strings", strings)

    def _parse(self, name: str, strings: Any) -> States:
        characters = [list(string) for string in _checked(name, strings, self.n)]
        return self.states_of_bits(np.array(characters) == "1")

    def format(self, states: States) -> list[str]:
        """Return states (m, n/k) as strings of n bits; those of an empty position are ·."""
        filled = np.repeat(states != self.empty, self.k, axis=1)
        return ["".join(row) for row in characters(self.bits(states), filled)]

    # ---- drawing ----------------------------------------------------------------------------

    def render(self, trajectory: States, mode: str) -> Any:
        """Draw the words as they were filled, and the nearest mode: in text the last state."""
        if mode not in self.render_modes:
            raise ValueError(f"render mode {mode!r} is not one of {list(self.render_modes)}")
        distances = self.mode_distances(trajectory[-1:])[0]
        nearest = int(np.argmin(distances))
        filled = np.repeat(trajectory != self.empty, self.k, axis=1)
        bits, mode_bits = self.bits(trajectory), self.bits(self.modes[nearest : nearest + 1])[0]
        if mode == "rgb_array":
            return render_rgb(bits, filled, mode_bits, self.k)
        caption = f"mode {nearest}: {distances[nearest]} of {int(filled[-1].sum())} bits differ"
        return render_ansi(bits[-1], filled[-1], mode_bits, self.k, caption)


def draw_modes(n: int, n_modes: int, seed: int) -> list[str]:
    """Draw modes of n/8 :data:`PIECES` each, the same as the paper's code from the same seed.

    Raises:
        ValueError: n is not a multiple of 8, or a bad number or seed.
    """
    length = len(PIECES[0])
    if n % length:
        raise ValueError(
            f"n={n!r} must be a multiple of {length}, since modes are drawn in pieces of {length} "
            "bits; or pass modes=, a list of bit strings"
        )
    shape = (whole("n_modes", n_modes, least=1), n // length)
    generator = _generator(seed)
    return ["".join(PIECES[piece] for piece in row) for row in generator.choice(5, shape)]


def flipped_modes(dag: BitSequence, seed: int = 0) -> States:
    """Return the paper's test set: each mode, and it with i random bits flipped, i = 1…n − 1.

    Int32 (n_modes·n, n/k), mode by mode in rising i; the same objects as the paper's code makes
    from the same modes and seed.

    Raises:
        ValueError: a bad seed.
    """
    generator = _generator(seed)
    objects = np.repeat(dag.bits(dag.modes), dag.n, axis=0)
    for row in range(len(objects)):
        if row % dag.n:
            objects[row, generator.permutation(dag.n)[: row % dag.n]] ^= True
    return dag.states_of_bits(objects)


def count_bits(lanes: Packed) -> NDArray[np.int64]:
    """Return how many bits are set along the last axis: uint64 (…, lanes) → int64 (…)."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.bitwise_count(lanes).sum(axis=-1, dtype=np.int64)
    return _BITS_OF_16.take(np.ascontiguousarray(lanes).view(np.uint16)).sum(-1, dtype=np.int64)


_BITS_OF_16 = np.array([number.bit_count() for number in range(2**16)], dtype=np.uint8)


def _pack(bits: NDArray[np.bool_]) -> Packed:
    """Bits (m, n) as uint64 (m, ⌈n/64⌉)."""
    rows, n = bits.shape
    octets = np.zeros((rows, -(-n // 64) * 8), dtype=np.uint8)
    octets[:, : -(-n // 8)] = np.packbits(bits, axis=1)
    return octets.view(np.uint64)


def _threshold(value: int | None, n: int) -> int:
    return n // 4 if value is None else whole("mode_threshold", value, least=0)


def _generator(seed: Any) -> np.random.RandomState:
    """The generator of the paper's code, so that modes and test set are the same."""
    if whole("seed", seed, least=0) >= 2**32:
        raise ValueError(f"seed={seed!r} must be below 2**32")
    return np.random.RandomState(seed)


def _checked(name: str, strings: Any, n: int) -> Sequence[str]:
    if isinstance(strings, str) or not isinstance(strings, Sequence) or not len(strings):
        raise ValueError(f"{name}={strings!r} must be a list of bit strings, at least one")
    for place, string in enumerate(strings):
        if not isinstance(string, str) or len(string) != n or set(string) - {"0", "1"}:
            raise ValueError(
                f"{name}[{place}]={string!r} must be a string of n={n} characters 0 or 1"
            )
    return strings
