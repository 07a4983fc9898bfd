"""Words over any alphabet: one DAG for proteins, DNA, RNA and text, in three orders of writing."""

from __future__ import annotations

from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gfn_gym.arguments import choice, whole
from gfn_gym.dag import DAG, Actions, Floats, Mask, States
from gfn_gym.edges import Edges
from gfn_gym.envs.sequence.alphabet import GAP, Alphabet
from gfn_gym.envs.sequence.orders import ORDERS, lengths
from gfn_gym.envs.sequence.render import render_ansi, render_rgb
from gfn_gym.envs.sequence.rewards import RNA_LANDSCAPES, Table, WordFunction, make_reward
from gfn_gym.rewards import StringReward

DEFAULT_LENGTH = 14


class Sequence(DAG):
    """Words of ``length``, or of ``min_length`` to ``max_length``, tokens of an alphabet.

    ## Description
    A state is a row of L token numbers 0…A − 1, L the largest length and A the number of tokens;
    A itself stands for an empty position. With ``order="any"`` positions are filled in any order
    (the length is then fixed); with "append" the word grows to the right, which makes the DAG a
    tree; with "both_ends" it grows at either end, and the row is always written from its first
    position on. Rows are int16 (n, L).

    ## Action Space
    ``Discrete``: with "any" action position·A + token writes the token there; with "append" action
    t appends token t; with "both_ends" action t appends and A + t prepends it, two parallel edges
    where both give the same word, as from "" or from "AA" by A. With variable length one more
    action, the last, stops; it is legal from ``min_length`` on. ``info["action_mask"]`` tells the
    legal ones.

    ## Observation Space
    ``Box(0, 1, (L·(A + 1),), float32)``: the one-hot tokens one after another;
    ``observation="state"`` gives ``MultiDiscrete([A + 1] * L)``. Stopping does not change it.

    ## Rewards
    A step to s' earns log P_B under the uniform backward policy: −log(number of tokens of s') with
    "any", 0 with "append", −log 2 with "both_ends". The end earns log R(x).

    ## Starting State
    The empty word.

    ## Episode End
    With fixed length the token that completes the word, otherwise the stop action alone, terminates
    the episode; nothing truncates it.

    ## Arguments
    - ``alphabet="ACGU"``: a string of distinct characters, or a list of tokens, none of which
      begins another.
    - ``length=14``: of all words; or
    - ``min_length=1``, ``max_length``: for words of variable length; not with ``order="any"``.
    - ``order="any"``: or "append" or "both_ends", see above.
    - ``reward="uniform"``: R = 1; or a function of a list of words to log R, or a
      ``StringReward`` around a slow or failing one; or a table, a dict or the
      path of a .csv or .parquet file of words and log R; or a landscape, "RNA1", "RNA2", "RNA3" or
      a :class:`.rewards.Landscape`, whose score s gives log R = reward_exponent·log(max(s, floor)).
    - ``reward_exponent=None``: β, which multiplies log R; by default 8 for landscapes, else 1.
    - ``floor=None``: of a landscape's scores, by default 0.01, and of R with ``scale="linear"``.
    - ``scale="log"``: "linear" where the function or table gives R itself; negative values are
      then refused by name, and R = 0 is if there is no ``floor``.
    - ``default=None``: the table's value of words that are not in it; needed if there are any.

    ## Version History
    - v0: initial version.

    Attributes:
        alphabet: the :class:`.alphabet.Alphabet`.
        min_length, max_length: see above; equal where the length is fixed.
        reward: the :class:`.rewards.WordReward`, a function of a list of words to log R.
    """

    render_modes: ClassVar[Many[str]] = ("ansi", "rgb_array")

    def __init__(
        self,
        alphabet: str | Many[str] = "ACGU",
        length: int | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        order: str = "any",
        reward: str | Path | Table | WordFunction | StringReward = "uniform",
        reward_exponent: float | None = None,
        floor: float | None = None,
        scale: str = "log",
        default: float | None = None,
    ):
        self.alphabet = Alphabet(alphabet)
        self.min_length, self.max_length = _lengths(length, min_length, max_length)
        fixed = max_length is None
        choice("order", order, ORDERS)
        if order == "any" and not fixed:
            raise ValueError(
                f"order='any' needs a fixed length=, not min_length={min_length!r} and "
                f"max_length={max_length!r}; with these choose order='append' or 'both_ends'"
            )
        self.order = order
        self._order = ORDERS[order](self.max_length, self.alphabet.size)
        self.empty = self.alphabet.size
        self.state_space = spaces.MultiDiscrete([self.empty + 1] * self.max_length, dtype=np.int16)
        self.n_actions = self._order.n_steps + (not fixed)
        self.n_backward_actions = self._order.n_backward_actions
        self.stop_action: int | None = None if fixed else self._order.n_steps
        named = isinstance(reward, str) and reward in RNA_LANDSCAPES
        if named and not set(self.alphabet.tokens) <= set("ACGU"):
            raise ValueError(
                f"reward={reward!r} scores words of the letters ACGU, which alphabet={alphabet!r} "
                "goes beyond"
            )
        self.reward = make_reward(
            reward, self._problem, self.n_words, self.max_length, scale, reward_exponent, floor,
            default,
        )  # fmt: skip

    def __repr__(self) -> str:
        span = {self.min_length, self.max_length}
        return (
            f"{type(self).__name__}({self.alphabet!r}, {' to '.join(map(str, sorted(span)))} "
            f"tokens, order={self.order!r})"
        )

    def structure(self) -> tuple[Any, ...]:
        return *super().structure(), self.alphabet, self.order, self.min_length

    @property
    def n_words(self) -> int:
        """How many words there are."""
        return sum(
            self.alphabet.size**length for length in range(self.min_length, self.max_length + 1)
        )

    # ---- construction -----------------------------------------------------------------------

    def initial_states(self, n: int) -> States:
        return np.full((n, self.max_length), self.empty, dtype=np.int16)

    def action_mask(self, states: States) -> Mask:
        steps = self._order.mask(states)
        if self.stop_action is None:
            return steps
        mask = np.empty((len(states), self.n_actions), dtype=bool)
        mask[:, :-1] = steps
        mask[:, -1] = states[:, self.min_length - 1] != self.empty
        return mask

    def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
        if self.stop_action is None:
            nexts = self._order.step(states, actions)
            return nexts, self._is_complete(nexts)
        stops = np.asarray(actions == self.stop_action)
        if not stops.any():
            return self._order.step(states, actions), stops
        nexts = states.copy()
        nexts[~stops] = self._order.step(states[~stops], actions[~stops])
        return nexts, stops

    def _is_complete(self, states: States) -> Mask:
        if self.order == "any":
            return np.asarray((states != self.empty).all(axis=1))
        return np.asarray(states[:, -1] != self.empty)

    # ---- deconstruction ---------------------------------------------------------------------

    def backward_mask(self, states: States) -> Mask:
        return self._order.backward_mask(states)

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        return self._order.backward_step(states, backward_actions)

    def backward_action(self, states: States, actions: Actions) -> Actions:
        return self._order.backward_action(actions)

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        return self._order.forward_action(states, backward_actions)

    def n_parallel(self, edges: Edges) -> NDArray[np.integer[Any]]:
        return self._order.is_parallel(edges.states, edges.actions) + np.int64(1)

    def backward_group(self, edges: Edges) -> Mask:
        undo = self._order.backward_action(edges.actions)
        group = undo[:, None] == np.arange(self.n_backward_actions)
        return group | self._order.is_parallel(edges.states, edges.actions)[:, None]

    @property
    def one_backward_action_per_parent(self) -> bool:
        return self.order != "both_ends"

    @property
    def one_action_per_edge(self) -> bool:
        return self.order != "both_ends"

    def log_uniform_backward(self, edges: Edges) -> Floats:
        return self._order.log_uniform_backward(edges.next_states)

    # ---- reward -----------------------------------------------------------------------------

    def log_reward(self, states: States) -> Floats:
        """Return log R of finished states, float64 (n,).

        Raises:
            RewardError: the function failed at a word, and ``on_failure`` is "raise".
            ValueError: the function returned something else than one number a word.
        """
        return self.reward(self.alphabet.write(states, after_end=""))

    def scores(self, words: Many[str]) -> Floats:
        """Return what the function, table or landscape says of n words, float64 (n,).

        Raises:
            TypeError: not a list of words.
            ValueError: one of them is not a word of this alphabet and length; it is named.
        """
        self.parse(words)
        return self.reward.values(list(words))

    def log_partition(self) -> float | None:
        """Return log Z of tables and of the uniform reward, else None."""
        return self.reward.log_partition(self.n_words)

    # ---- words ------------------------------------------------------------------------------

    def parse(self, words: Many[str]) -> States:
        """Return n finished words as states, int16 (n, L).

        Raises:
            TypeError: not a list of words.
            ValueError: one of them is not a word of this alphabet and length; it is named.
        """
        return self.alphabet.read("words", words, self.min_length, self.max_length)

    def format(self, states: States) -> list[str]:
        """Return states (n, L) as words; positions that are still to be filled are ·."""
        return self.alphabet.write(states, after_end=GAP if self.order == "any" else "")

    def _problem(self, word: Any) -> str | None:
        return self.alphabet.problem(word, self.min_length, self.max_length)

    # ---- drawing ----------------------------------------------------------------------------

    def render(self, trajectory: States, mode: str) -> Any:
        """Draw the word: in text the last state, in pixels the whole walk from top to bottom."""
        if mode not in self.render_modes:
            raise ValueError(f"render mode {mode!r} is not one of {list(self.render_modes)}")
        if mode == "rgb_array":
            return render_rgb(trajectory, self.alphabet.tokens)
        tokens = [(*self.alphabet.tokens, GAP)[number] for number in trajectory[-1]]
        return render_ansi(tokens, int(lengths(trajectory[-1:], self.empty)[0]), self.min_length)


def _lengths(length: Any, min_length: Any, max_length: Any) -> tuple[int, int]:
    if max_length is None:
        if min_length is not None:
            raise ValueError(f"min_length={min_length!r} needs max_length= as well")
        fixed = whole("length", DEFAULT_LENGTH if length is None else length, least=1)
        return fixed, fixed
    if length is not None:
        raise ValueError(
            f"length={length!r} fixes the length; leave it out with max_length={max_length!r}"
        )
    most = whole("max_length", max_length, least=1)
    least = whole("min_length", 1 if min_length is None else min_length, least=1)
    if least > most:
        raise ValueError(f"min_length={min_length!r} exceeds max_length={max_length!r}")
    return least, most
