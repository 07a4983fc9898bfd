"""The hypergrid: the paper's first domain, and the one where everything can be checked exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gfn_gym.arguments import is_finite, number, whole
from gfn_gym.dag import DAG, Actions, Floats, Mask, States, check_log_reward
from gfn_gym.envs.hypergrid_render import render_ansi, render_rgb


class Levels(Protocol):
    """Anything with the three heights of the reward."""

    @property
    def R0(self) -> float: ...
    @property
    def R1(self) -> float: ...
    @property
    def R2(self) -> float: ...


@dataclass(frozen=True)
class HypergridReward:
    """R(x) = R0 + R1·[all of x in the outer bands] + R2·[all of x in the inner bands]."""

    R0: float
    R1: float
    R2: float


REWARDS = {
    "standard": HypergridReward(1e-3, 0.5, 2.0),
    "hard": HypergridReward(1e-4, 1.0, 3.0),
}
"""The two rewards of arXiv:2310.12934, section 5.1."""

LogReward = Callable[[States], Floats]

LARGEST_DRAWN = 128  # cells on a side, of 20 pixels each


class Hypergrid(DAG):
    """A grid of ``height**ndim`` cells, explored from the origin, with modes near its corners.

    ## Description
    A state is a cell x of {0, …, height−1}^ndim. A trajectory starts at the origin, adds 1 to one
    coordinate a step and stops anywhere; the cell where it stops is the object (Bengio et al.
    2021, arXiv:2106.04399; settings of Tiapkin et al. 2024, arXiv:2310.12934). Rows are int32
    (n, ndim).

    ## Action Space
    ``Discrete(ndim + 1)``: action d adds 1 to coordinate d (illegal at height − 1); action ndim
    stops, and is always legal. ``info["action_mask"]`` tells the legal ones.

    ## Observation Space
    ``Box(0, 1, (ndim * height,), float32)``: the one-hot coordinates one after another;
    ``observation="state"`` gives ``MultiDiscrete([height] * ndim)``. Stopping does not change it.

    ## Rewards
    A step to s' earns log P_B = −log(number of non-zero coordinates of s') under the uniform
    backward policy; stopping earns log R(x), with
    R(x) = (R0 + R1·∏_d [|x_d/(height−1) − ½| > ¼] + R2·∏_d [0.3 < |x_d/(height−1) − ½| < 0.4])^β.
    The inequalities are decided in integers, so the bands are symmetric at every height.

    ## Starting State
    The origin.

    ## Episode End
    The stop action terminates the episode; nothing truncates it.

    ## Arguments
    - ``ndim=4``: number of coordinates, at least 1.
    - ``height=20``: values of a coordinate, at least 2.
    - ``reward="standard"``: ``"standard"`` (R0, R1, R2) = (1e-3, 0.5, 2), ``"hard"`` (1e-4, 1, 3),
      an object with attributes R0, R1, R2, or a function from coordinates, int (n, ndim), to
      log R, float (n,).
    - ``reward_exponent=1.0``: β, finite and positive; multiplies log R.
    - ``render_axes=(0, 1)``: the two coordinates that are drawn; the others are cut at the
      current cell.

    ## Version History
    - v0: initial version.
    """

    render_modes: ClassVar[Sequence[str]] = ("ansi", "rgb_array")

    def __init__(
        self,
        ndim: int = 4,
        height: int = 20,
        reward: str | Levels | LogReward = "standard",
        reward_exponent: float = 1.0,
        render_axes: tuple[int, int] = (0, 1),
    ):
        self.ndim = whole("ndim", ndim, least=1)
        self.height = whole("height", height, least=2, most=2**31 - 1)
        self.reward_exponent = number("reward_exponent", reward_exponent, above=0)
        self.reward = reward
        self.render_axes = _axes(render_axes, self.ndim)

        self.state_space = spaces.MultiDiscrete([self.height] * self.ndim, dtype=np.int32)
        self.n_actions = self.ndim + 1
        self.n_backward_actions = self.ndim
        self.stop_action: int = self.ndim
        self._log_reward_function: LogReward | None = None
        if callable(reward) and not hasattr(reward, "R0"):
            self._log_reward_function = reward
            self.log_reward(self.initial_states(2))  # a wrong shape shows here, not in training
        else:
            levels = _levels(cast("str | Levels", reward))
            heights = np.array(
                [levels.R0, levels.R0 + levels.R1, levels.R0 + levels.R1 + levels.R2]
            )
            self._log_levels = self.reward_exponent * np.log(heights)
            self._bands = _bands(self.height)

    def __repr__(self) -> str:
        reward = self.reward if isinstance(self.reward, (str, HypergridReward)) else "custom"
        power = "" if self.reward_exponent == 1 else f", reward_exponent={self.reward_exponent}"
        return f"Hypergrid(ndim={self.ndim}, height={self.height}, reward={reward!r}{power})"

    # ---- construction -----------------------------------------------------------------------
    # Arrays are laid out column by column (Fortran order): sums over the few coordinates then
    # run along contiguous memory, which is several times faster for large batches.

    def initial_states(self, n: int) -> States:
        return np.zeros((n, self.ndim), dtype=np.int32, order="F")

    def action_mask(self, states: States) -> Mask:
        mask = np.ones((len(states), self.n_actions), dtype=bool, order="F")
        np.less(states, self.height - 1, out=mask[:, : self.ndim])
        return mask

    def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
        moved = np.equal.outer(np.arange(self.ndim), actions).T
        return states + moved, np.asarray(actions == self.stop_action)

    # ---- deconstruction ---------------------------------------------------------------------

    def backward_mask(self, states: States) -> Mask:
        return np.asarray(states > 0)

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        return states - np.equal.outer(np.arange(self.ndim), backward_actions).T

    def backward_action(self, states: States, actions: Actions) -> Actions:
        return actions

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        return backward_actions

    # ---- reward -----------------------------------------------------------------------------

    def log_reward(self, states: States) -> Floats:
        """Return β·log R of cells (n, ndim), float64 (n,).

        Raises:
            ValueError: the user's function returned another shape, NaN or an infinity.
        """
        if self._log_reward_function is not None:
            log_reward = self._log_reward_function(states.copy())  # which it may write into
            return self.reward_exponent * check_log_reward(
                log_reward, states, "the reward function"
            )
        # The inner bands lie inside the outer ones, so the least band of any coordinate decides.
        return self._log_levels.take(self._bands.take(states.T).min(axis=0))

    def potential(self, states: States) -> Floats:
        """Return log R of the cell, float64 (n,): the construction could stop in any."""
        return self.log_reward(states)

    def max_trajectory_length(self) -> int:
        """Return ndim·(height − 1) + 1: to the far corner, and the stop."""
        return self.ndim * (self.height - 1) + 1

    def log_partition(self) -> float | None:
        """Return log Z of the built-in rewards, in closed form for grids of any size.

        Z = (H^D − a^D)·R0^β + (a^D − b^D)·(R0+R1)^β + b^D·(R0+R1+R2)^β with a and b the numbers
        of coordinate values in the outer and in the inner bands.
        """
        if self._log_reward_function is not None:
            return None
        outer, inner = int((self._bands >= 1).sum()), int((self._bands == 2).sum())
        a, b, cells = outer**self.ndim, inner**self.ndim, self.height**self.ndim
        counts = [cells - a, a - b, b]
        terms = [
            math.log(count) + log_level
            for count, log_level in zip(counts, self._log_levels, strict=True)
            if count
        ]
        return float(np.logaddexp.reduce(terms))

    def n_states(self) -> int:
        """Return the number of cells."""
        return int(self.height**self.ndim)

    def default_invalid_reward(self) -> float:
        """Return −100, or 1 below the least log R of the built-in rewards where that is lower."""
        if self._log_reward_function is not None:
            return super().default_invalid_reward()
        return min(super().default_invalid_reward(), float(self._log_levels[0]) - 1.0)

    # ---- drawing ----------------------------------------------------------------------------

    def render(self, trajectory: States, mode: str) -> Any:
        """Draw log R over the pair ``render_axes`` as a heat map, and the trajectory over it."""
        if mode not in self.render_modes:
            raise ValueError(f"render mode {mode!r} is not one of {list(self.render_modes)}")
        if self.height > LARGEST_DRAWN:
            raise ValueError(
                f"height={self.height} is too large to draw; at most {LARGEST_DRAWN} is"
            )
        first, second = self.render_axes
        plane = np.tile(trajectory[-1], (self.height**2, 1))
        rows, columns = np.divmod(np.arange(self.height**2), self.height)
        plane[:, second] = columns
        plane[:, first] = rows  # last, so that a grid of one dimension is drawn as a strip
        log_reward = self.log_reward(plane).reshape(self.height, self.height)
        path = trajectory[:, [first, second]]
        if first == second:
            log_reward, path = log_reward[:, :1], np.stack([path[:, 0], 0 * path[:, 0]], axis=1)
        draw = render_ansi if mode == "ansi" else render_rgb
        return draw(log_reward, path)


def _axes(axes: tuple[int, int], ndim: int) -> tuple[int, int]:
    if ndim == 1:
        return (0, 0)
    wanted = set(axes) if isinstance(axes, Sequence) and len(axes) == 2 else set()
    if len(wanted & set(range(ndim))) != 2:
        raise ValueError(f"render_axes={axes!r} must be two different coordinates below {ndim}")
    return (int(axes[0]), int(axes[1]))


def _levels(reward: str | Levels) -> Levels:
    if isinstance(reward, str):
        if reward not in REWARDS:
            raise ValueError(
                f"reward={reward!r} is unknown; choose from {sorted(REWARDS)}, or pass an object "
                "with R0, R1, R2, or a function from coordinates to log R"
            )
        return REWARDS[reward]
    missing = [name for name in ("R0", "R1", "R2") if not hasattr(reward, name)]
    if missing:
        raise ValueError(
            f"reward={reward!r} must be one of {sorted(REWARDS)}, an object with R0, R1 and R2 "
            f"(missing: {', '.join(missing)}), or a function from coordinates to log R"
        )
    heights = (reward.R0, reward.R1, reward.R2)
    if not (all(map(is_finite, heights)) and heights[0] > 0 and min(heights) >= 0):
        raise ValueError(
            f"reward={reward!r} must have finite numbers R0 > 0, R1 >= 0 and R2 >= 0, so that "
            "log R exists"
        )
    return reward


def _bands(height: int) -> NDArray[np.int8]:
    """For each coordinate value: 2 in the inner band, 1 in the outer only, 0 in neither.

    With u = |2x − (H−1)|, |x/(H−1) − ½| > t means u > 2t·(H−1): exact in integers, where floats
    would put x = 8 of H = 11 inside a band that excludes its mirror image x = 2.
    """
    u = np.abs(2 * np.arange(height, dtype=np.int64) - (height - 1))
    outer = 2 * u > height - 1
    inner = (5 * u > 3 * (height - 1)) & (5 * u < 4 * (height - 1))
    return outer.astype(np.int8) + inner.astype(np.int8)
