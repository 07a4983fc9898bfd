"""Bayesian networks: graphs over the columns of data, with their posterior as the reward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gfn_gym.arguments import choice, number, whole
from gfn_gym.dag import DAG, Actions, Floats, Mask, States, check_log_reward
from gfn_gym.envs.bayesian_network import exact
from gfn_gym.envs.bayesian_network.bits import (
    Adjacency,
    acyclic,
    ancestors,
    pack,
    parent_sets,
    unpack,
)
from gfn_gym.envs.bayesian_network.constraints import Edges, check_constraints, parse_edges
from gfn_gym.envs.bayesian_network.data import Table, read_table
from gfn_gym.envs.bayesian_network.render import render_ansi, render_rgb
from gfn_gym.envs.bayesian_network.scores import (
    SCORES,
    BDeu,
    BGe,
    GaussianBIC,
    LocalScores,
    LogPrior,
    check_enough,
)
from gfn_gym.envs.bayesian_network.simulate import erdos_renyi_data


class BayesianNetwork(DAG):
    """Directed acyclic graphs over the columns of data, sampled by how well they explain them.

    ## Description
    A state is a directed acyclic graph over d nodes, one for each column of the data. The
    construction starts with the required edges and adds one edge a step, never one that closes a
    cycle, and stops anywhere; the graph where it stops is the object (Deleu et al. 2022,
    arXiv:2202.13903). Rows are int8 (n, d²): the adjacency matrix, row by row, where [i, j] is
    the edge i → j. Of a graph with k edges that are not required each can be taken off, so P_B is
    uniform over k.

    ## Action Space
    ``Discrete(d² + 1)``: action i·d + j adds the edge i → j; action d² stops, and is always
    legal. ``info["action_mask"]`` tells the legal ones: no edge that is there, closes a cycle, is
    forbidden, or exceeds ``max_parents``.

    ## Observation Space
    ``Box(0, 1, (d²,), float32)``: the adjacency matrix; ``observation="state"`` gives
    ``MultiDiscrete([2] * d²)``. Stopping does not change it.

    ## Rewards
    A step to s' earns log P_B = −log(edges of s' that are not required) under the uniform
    backward policy; stopping earns
    log R(G) = score(G) + log prior(G) − score(G₀) − log prior(G₀), with G₀ the starting state,
    so log R(G₀) = 0. The terminal distribution of the optimal policy is the posterior over
    graphs.

    ## Starting State
    The graph of the required edges; without any, the empty graph.

    ## Episode End
    The stop action terminates the episode; nothing truncates it.

    ## Arguments
    - ``data=None``: an array (observations, d), a dict {name: column}, anything like a pandas
      DataFrame, or the path of a CSV file whose first row names the columns; from 2 to 52
      columns, no value missing. By default those of :func:`erdos_renyi_data`: five nodes, 100
      observations.
    - ``score="bge"``: "bge" (Gaussian, Geiger and Heckerman 2002), "bic" (Gaussian, Schwarz 1978)
      or "bde" (discrete, BDeu). See :mod:`gfn_gym.envs.bayesian_network.scores`.
    - ``max_parents=None``: most parents of a node; None for no limit.
    - ``forbidden=()``: pairs (from, to), by name or number: edges that no graph has.
    - ``required=()``: pairs likewise: edges that every graph has.
    - ``log_prior=None``: a function of graphs, bool (n, d, d), to their log prior probabilities up
      to a constant, float (n,); None for the uniform prior.
    - ``alpha_mu=1.0``, ``alpha_w=None``: of "bge": the weight of the prior mean, and the degrees
      of freedom of the Wishart prior, by default d + alpha_mu + 1.
    - ``equivalent_sample_size=10.0``: of "bde".
    - ``workers=0``: processes that compute all local scores up front where they are many (more
      than 65,536 sets of columns, or 2²⁷ sets times observations); with 0 each is computed
      when it is asked for. Where they are few, all are computed up front in any case.

    ## Version History
    - v0: initial version.

    Attributes:
        names: the d names of the nodes.
        d: number of nodes.
        initial_score: score(G₀) + log prior(G₀); added to log R it gives absolute values.
        local_scores: F of sets of columns, and local scores.
    """

    render_modes: ClassVar[Sequence[str]] = ("ansi", "rgb_array")

    def __init__(
        self,
        data: Any = None,
        score: str = "bge",
        max_parents: int | None = None,
        forbidden: Edges = (),
        required: Edges = (),
        log_prior: LogPrior | None = None,
        alpha_mu: float = 1.0,
        alpha_w: float | None = None,
        equivalent_sample_size: float = 10.0,
        workers: int = 0,
    ):
        table = read_table(erdos_renyi_data()[0] if data is None else data)
        self.names, self.d, self.score_name = table.names, len(table.names), score
        self.max_parents = _most_parents(max_parents, self.d)
        self.required = parse_edges("required", required, self.names)
        loops = np.eye(self.d, dtype=bool)
        self.allowed = ~(parse_edges("forbidden", forbidden, self.names) | loops)
        check_constraints(self.names, self.required, self.allowed, self.max_parents)
        if log_prior is not None and not callable(log_prior):
            raise TypeError(
                f"log_prior={log_prior!r} must be a function of graphs (n, {self.d}, {self.d}), or "
                "None for the uniform prior"
            )
        self.log_prior = log_prior

        n_cells = self.d**2
        self.state_space = spaces.MultiDiscrete([2] * n_cells, dtype=np.int8)
        self.n_actions, self.n_backward_actions = n_cells + 1, n_cells
        self.stop_action: int = n_cells
        self._allowed_bits = pack(self.allowed)
        self._free = (self.allowed & ~self.required).reshape(-1)  # edges that can come and go

        settings = (alpha_mu, alpha_w, equivalent_sample_size)
        self._score = _set_score(table, score, self.max_parents, *settings)
        self.local_scores = LocalScores(
            self._score,
            self.d,
            table.observations,
            largest=self.max_parents + 1,
            workers=whole("workers", workers, least=0),
        )
        self.initial_score = 0.0
        self.initial_score = float(self.log_reward(self.initial_states(2))[0])

    def __repr__(self) -> str:
        return f"BayesianNetwork(d={self.d}, score={self.score_name!r})"

    def structure(self) -> tuple[Any, ...]:
        return *super().structure(), self.names

    def arguments(self) -> dict[str, Any] | None:
        """Return the arguments, with data and constraints as plain columns and pairs of numbers.

        A file may be another one by the time a saved model is loaded, and a table of another
        library would be saved as code.
        """
        arguments = super().arguments()
        if arguments is None:
            return None
        if arguments.get("data") is not None:
            function = self._score  # has the numbers, or the levels of "bde"
            columns = function.codes.T if isinstance(function, BDeu) else function.data.T
            arguments["data"] = dict(zip(self.names, columns, strict=True))
        unwanted = ~self.allowed & ~np.eye(self.d, dtype=bool)
        arguments.pop("workers", None)  # whoever loads a model need not want its scores at once
        for name, edges in (("required", self.required), ("forbidden", unwanted)):
            if name in arguments:
                arguments[name] = [(int(i), int(j)) for i, j in np.argwhere(edges)]
        return arguments

    # ---- construction -----------------------------------------------------------------------

    def initial_states(self, n: int) -> States:
        return np.tile(self.required.reshape(-1).astype(np.int8), (n, 1))

    def action_mask(self, states: States) -> Mask:
        graphs = self.adjacency(states)
        # An edge i → j closes a cycle where j is an ancestor of i.
        open_bits = self._allowed_bits & ~ancestors(parent_sets(graphs))
        legal = unpack(open_bits, self.d)
        legal &= ~graphs
        if self.max_parents < self.d - 1:
            legal &= (graphs.sum(axis=1) < self.max_parents)[:, None]
        mask = np.ones((len(states), self.n_actions), dtype=bool)
        mask[:, : self.stop_action] = legal.reshape(len(states), -1)
        return mask

    def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
        nexts, stops = states.copy(), np.asarray(actions == self.stop_action)
        rows = np.flatnonzero(~stops)
        nexts[rows, actions[rows]] = 1
        return nexts, stops

    # ---- deconstruction ---------------------------------------------------------------------

    def backward_mask(self, states: States) -> Mask:
        return np.asarray((states != 0) & self._free)

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        parents = states.copy()
        parents[np.arange(len(states)), backward_actions] = 0
        return parents

    def backward_action(self, states: States, actions: Actions) -> Actions:
        return actions

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        return backward_actions

    # ---- reward -----------------------------------------------------------------------------

    def log_reward(self, states: States) -> Floats:
        """Return log R of graphs, float64 (n,), relative to that of the starting state.

        Raises:
            ValueError: the user's log prior returned another shape, NaN or an infinity.
        """
        graphs = self.adjacency(states)
        total = self.local_scores.graph(parent_sets(graphs))
        if self.log_prior is not None:
            total += check_log_reward(self.log_prior(graphs), states, "log_prior")
        return total - self.initial_score

    def potential(self, states: States) -> Floats:
        """Return log R of the unfinished graphs, float64 (n,): they are graphs, too."""
        return self.log_reward(states)

    def log_partition(self) -> float | None:
        """Return log Z, in units of log R, where it is known; else None.

        Under the uniform prior up to 14 nodes by inclusion–exclusion (a few seconds, once);
        under another prior up to 5 nodes by enumeration.
        """
        return self._log_partition

    @cached_property
    def _log_partition(self) -> float | None:
        if self.log_prior is None:
            if self.d > exact.LARGEST_SUMMED:
                return None
            return exact.sum_over_graphs(self).log_partition
        if self.d > exact.LARGEST_ENUMERATED:
            return None
        return float(np.logaddexp.reduce(self.log_reward(exact.enumerate_graphs(self))))

    # ---- graphs -----------------------------------------------------------------------------

    def adjacency(self, states: States) -> Adjacency:
        """Return states (n, d²) as adjacency matrices, bool (n, d, d)."""
        return np.asarray(states != 0).reshape(len(states), self.d, self.d)

    def states_of_graphs(self, graphs: NDArray[Any]) -> States:
        """Return adjacency matrices (n, d, d) as states, int8 (n, d²).

        Raises:
            ValueError: another shape, a cycle, a forbidden edge, a required one that is missing,
                or too many parents.
        """
        graphs = np.asarray(graphs) != 0
        if graphs.shape[1:] != (self.d, self.d):
            raise ValueError(f"graphs has shape {graphs.shape}; it must be (n, {self.d}, {self.d})")
        good = self.contains(graphs)
        if not good.all():
            raise ValueError(
                f"graphs[{int(np.argmin(good))}] has a cycle, a forbidden edge, too many parents, "
                "or lacks a required edge"
            )
        return graphs.reshape(len(graphs), -1).astype(np.int8)

    def contains(self, graphs: Adjacency) -> Mask:
        """Return which graphs, bool (n, d, d), are acyclic and keep the constraints, bool (n,)."""
        return np.asarray(
            acyclic(graphs)
            & (graphs <= self.allowed).all(axis=(1, 2))
            & (graphs >= self.required).all(axis=(1, 2))
            & (graphs.sum(axis=1) <= self.max_parents).all(axis=1)
        )

    def edges(self, state: States) -> list[tuple[str, str]]:
        """Return the edges of one state (d²,) as pairs of names."""
        pairs = np.argwhere(np.asarray(state).reshape(self.d, self.d))
        return [(self.names[i], self.names[j]) for i, j in pairs]

    # ---- what other libraries see -----------------------------------------------------------

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """The float32 Box of the adjacency matrix: one bit an edge needs no one-hot."""
        return spaces.Box(0.0, 1.0, shape=(self.d**2,), dtype=np.float32)

    def observe(self, states: States) -> NDArray[np.float32]:
        return states.astype(np.float32)

    def states_of(self, observations: NDArray[Any]) -> States:
        return np.asarray(observations > 0.5).astype(np.int8)

    # ---- drawing ----------------------------------------------------------------------------

    def render(self, trajectory: States, mode: str) -> Any:
        """Draw the last graph, the newest edge marked: its edges in text, or nodes and arrows."""
        if mode not in self.render_modes:
            raise ValueError(f"render mode {mode!r} is not one of {list(self.render_modes)}")
        graphs = self.adjacency(trajectory)
        if mode == "rgb_array":
            return render_rgb(graphs, self.required)
        return render_ansi(graphs, self.names, float(self.log_reward(trajectory[-1:])[0]))


def _most_parents(max_parents: int | None, d: int) -> int:
    return d - 1 if max_parents is None else min(whole("max_parents", max_parents, 1), d - 1)


def _set_score(
    table: Table,
    score: str,
    most_parents: int,
    alpha_mu: float,
    alpha_w: float | None,
    equivalent_sample_size: float,
) -> BGe | GaussianBIC | BDeu:
    d = len(table.names)
    alpha_mu = number("alpha_mu", alpha_mu, above=0)
    size = number("equivalent_sample_size", equivalent_sample_size, above=0)
    if choice("score", score, SCORES) == "bge":
        degrees = d + alpha_mu + 1 if alpha_w is None else alpha_w
        return BGe(table.real(), alpha_mu, number("alpha_w", degrees, above=d + 1))
    if score == "bic":
        data = table.real()
        check_enough(data, table.names, most_parents)
        return GaussianBIC(data)
    return BDeu(table.codes(), size)
