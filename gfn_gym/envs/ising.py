"""The Ising model: spins set one by one, with the Boltzmann distribution as the target."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from gfn_gym.arguments import ArgumentTypeError, choice, number, whole
from gfn_gym.dag import DAG, Actions, Floats, Mask, States
from gfn_gym.envs import ising_exact
from gfn_gym.envs.ising_render import render_ansi, render_rgb

ORDERS = ("any", "raster")
DEFAULT_L = 9
UNSET = 2
LARGEST_LOG_REWARD = 1e30  # networks compute in float32, which ends at 3.4e38


class Ising(DAG):
    """Configurations of spins ±1 on a torus or any graph, with probability ∝ exp(−β·energy).

    ## Description
    A state is a row of N spins, each 0 (down, s = −1), 1 (up, s = +1) or 2 (not set yet). The
    construction starts with none set and sets one a step: in any order, or site by site
    (``order="raster"``: a tree, since each state has one parent). The last spin ends it. On the
    L×L torus, N = L² and site row·L + column is bound to its four neighbours; any symmetric matrix
    of couplings makes another graph. Rows are int8 (n, N).

    ## Action Space
    ``Discrete(2·N)``: action 2·site + v sets the spin to v; legal where it is not set and, in
    raster order, where all sites before it are. There is no stop action.
    ``info["action_mask"]`` tells the legal ones.

    ## Observation Space
    ``Box(0, 1, (3·N,), float32)``: the one-hot spins one after another; ``observation="state"``
    gives ``MultiDiscrete([3] * N)``.

    ## Rewards
    A step to s' earns log P_B = −log(number of spins set in s') under the uniform backward policy,
    in raster order 0. The last one also earns log R(x) = −β·E(x), with
    E = −J·Σ_bonds s_i·s_j − Σ_i h_i·s_i.

    ## Starting State
    No spin set.

    ## Episode End
    The last spin terminates the episode; nothing truncates it.

    ## Arguments
    - ``L=9``: side of the torus, at least 2. At L = 2 the two bonds of a pair both count.
    - ``J=1.0``: the coupling; above 0 neighbours like to be equal.
    - ``beta=0.4``: inverse temperature, finite and at least 0. The torus is critical at
      βJ = ½·log(1 + √2) = 0.4407.
    - ``field=0.0``: h, a number or one for each site (N,).
    - ``couplings=None``: a symmetric matrix (N, N) with zeros on the diagonal, instead of the
      torus: E = −J·Σ_{i<j} C_ij·s_i·s_j − Σ_i h_i·s_i. ``L`` must then be left alone.
    - ``order="any"``: or "raster".

    ## Version History
    - v0: initial version.

    Attributes:
        n_spins: N.
        couplings: float64 (N, N), J included.
        field: float64 (N,).
    """

    render_modes: ClassVar[Sequence[str]] = ("ansi", "rgb_array")
    stop_action: int | None = None

    def __init__(
        self,
        L: int = DEFAULT_L,
        J: float = 1.0,
        beta: float = 0.4,
        field: float | ArrayLike = 0.0,
        couplings: ArrayLike | None = None,
        order: str = "any",
    ):
        self.J, self.beta = number("J", J), number("beta", beta, least=0)
        self.order = choice("order", order, ORDERS)
        self.L: int | None = None  # None where there is no torus
        if couplings is None:
            self.L = whole("L", L, least=2)
            matrix = torus(self.L)
        else:
            if L != DEFAULT_L:
                raise ValueError(f"L={L!r} has no meaning beside couplings, which tell the size")
            matrix = _symmetric(couplings)
        with np.errstate(over="ignore"):  # what overflows is refused below
            self.couplings = self.J * matrix
            self.n_spins = len(matrix)
            self.field = _field(field, self.n_spins)
            most = self.beta * (np.abs(self.couplings).sum() / 2 + np.abs(self.field).sum())
        if not most <= LARGEST_LOG_REWARD:
            raise ValueError(
                f"beta={beta!r} makes log R as large as {most:.3g}; beta, J, couplings and field "
                f"must keep it within {LARGEST_LOG_REWARD:g}"
            )

        self.state_space = spaces.MultiDiscrete([3] * self.n_spins, dtype=np.int8)
        self.n_actions, self.n_backward_actions = 2 * self.n_spins, self.n_spins

    def __repr__(self) -> str:
        size = f"L={self.L}" if self.L else f"{self.n_spins} spins"
        return f"Ising({size}, J={self.J}, beta={self.beta}, order={self.order!r})"

    # ---- construction -----------------------------------------------------------------------

    def initial_states(self, n: int) -> States:
        return np.full((n, self.n_spins), UNSET, dtype=np.int8)

    def action_mask(self, states: States) -> Mask:
        return np.repeat(self._next_sites(states), 2, axis=1)

    def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
        nexts = states.copy()
        nexts[np.arange(len(states)), actions >> 1] = actions & 1
        return nexts, (nexts != UNSET).all(axis=1)

    def _next_sites(self, states: States) -> Mask:
        unset = states == UNSET
        if self.order == "raster":
            unset[:, 1:] &= ~unset[:, :-1]  # those before the last one set are set, too
        return np.asarray(unset)

    # ---- deconstruction ---------------------------------------------------------------------

    def backward_mask(self, states: States) -> Mask:
        is_set = states != UNSET
        if self.order == "raster":
            is_set[:, :-1] &= ~is_set[:, 1:]
        return np.asarray(is_set)

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        parents = states.copy()
        parents[np.arange(len(states)), backward_actions] = UNSET
        return parents

    def backward_action(self, states: States, actions: Actions) -> Actions:
        return actions >> 1

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        spins = states[np.arange(len(states)), backward_actions]
        return 2 * backward_actions + spins

    # ---- reward -----------------------------------------------------------------------------

    def spins(self, states: States) -> Floats:
        """Return the spins −1 and +1, and 0 where none is set, float64 (n, N)."""
        return SPINS.take(states)

    def energy(self, states: States) -> Floats:
        """Return E over the bonds and fields whose spins are set, float64 (n,)."""
        spins = self.spins(states)
        local = 0.5 * (spins @ self.couplings) + self.field
        return 0.0 - np.einsum("ni,ni->n", spins, local)  # 0.0 −, so that nothing set is not −0

    def magnetisation(self, states: States) -> NDArray[np.int64]:
        """Return Σ s_i over the spins that are set, int64 (n,)."""
        return self.spins(states).sum(axis=1).astype(np.int64)

    def log_reward(self, states: States) -> Floats:
        """Return −β·E, float64 (n,)."""
        return -self.beta * self.energy(states)

    def potential(self, states: States) -> Floats:
        """Return −β·E over the bonds and fields whose spins are set, float64 (n,)."""
        return self.log_reward(states)

    def log_partition(self) -> float | None:
        """Return log Z where it is known, else None.

        By the transfer matrix on a torus up to L = 12, by enumeration up to 20 spins.
        """
        return self._log_partition

    @cached_property
    def _log_partition(self) -> float | None:
        if self.L is not None and self.L <= ising_exact.LARGEST_TORUS:
            coupling, fields = self.beta * self.J, self.beta * self.field
            return ising_exact.transfer_log_partition(self.L, coupling, fields).real
        if self.n_spins <= ising_exact.LARGEST_ENUMERATED:
            return float(np.logaddexp.reduce(-self.beta * ising_exact.all_energies(self)[0]))
        return None

    # ---- drawing ----------------------------------------------------------------------------

    def render(self, trajectory: States, mode: str) -> Any:
        """Draw the spins, in rows of L on the torus: the last one set is marked."""
        if mode not in self.render_modes:
            raise ValueError(f"render mode {mode!r} is not one of {list(self.render_modes)}")
        side = self.L or int(np.ceil(np.sqrt(self.n_spins)))
        if mode == "rgb_array":
            return render_rgb(trajectory, side)
        return render_ansi(trajectory, side, float(self.energy(trajectory[-1:])[0]))


SPINS = np.array([-1.0, 1.0, 0.0])  # of the values 0, 1 and UNSET


def torus(side: int) -> Floats:
    """Return how many bonds join each pair of sites of the side×side torus, float64 (N, N)."""
    site = np.arange(side**2).reshape(side, side)
    bonds = np.zeros((side**2, side**2))
    for axis in (0, 1):
        np.add.at(bonds, (site.ravel(), np.roll(site, -1, axis=axis).ravel()), 1.0)
    return bonds + bonds.T


def _array(name: str, value: Any) -> Floats:
    try:
        given = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ArgumentTypeError(f"{name}={value!r} must hold numbers") from error
    if given.dtype.kind not in "iuf" and given.size:  # numpy would read strings and booleans
        raise ArgumentTypeError(f"{name}={value!r} must hold numbers")
    array = given.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {array[~np.isfinite(array)][0]}; it must be finite")
    return array


def _field(field: Any, n_spins: int) -> Floats:
    array = _array("field", field)
    if array.shape not in ((), (n_spins,)):
        raise ValueError(
            f"field has shape {array.shape}; it must be a number or one a site, ({n_spins},)"
        )
    return np.broadcast_to(array, (n_spins,)).copy()


def _symmetric(couplings: Any) -> Floats:
    matrix = _array("couplings", couplings)
    n = len(matrix) if matrix.ndim else 0
    if matrix.shape != (n, n) or n < 1:
        raise ValueError(f"couplings has shape {matrix.shape}; it must be square, (N, N)")
    if np.diagonal(matrix).any():
        raise ValueError("couplings must have zeros on its diagonal: a spin has no bond to itself")
    different = np.argwhere(matrix != matrix.T)
    if len(different):
        i, j = different[0]
        raise ValueError(
            f"couplings must be symmetric, but [{i}, {j}] is {matrix[i, j]} and [{j}, {i}] is "
            f"{matrix[j, i]}"
        )
    return matrix
