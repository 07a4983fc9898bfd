"""Theorem 1, from the outside: the environments' own rewards make π* sample R(x)/Z, exactly.

Everything is solved in plain Python on what ``reset`` and ``step`` return; of the package's exact
code (``gfn_gym.graph``) nothing is used, it is compared in the end.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch as th

from block_sets import BLOCK_SETS
from block_sets import tilted as tilted_molecules
from dags import DAGS, Piles
from gfn_gym import DAG, MDP, GFNEnv
from gfn_gym.agents.architectures import MLP, Architecture, Transformer
from gfn_gym.agents.backward import NetworkBackwardPolicy
from gfn_gym.agents.networks import BackwardNetwork
from gfn_gym.envs.bayesian_network import erdos_renyi_data
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.graph import enumerate_graph
from gfn_gym.mdp import BackwardPolicy
from sequence_envs import SEQUENCES, tilted_words

State = tuple[int, ...]


def tilted(states):
    """A user's own log R."""
    return np.cos(2.0 * states[:, 0]) + 0.1 * states.sum(axis=1)


def make(id: str, **kwargs: Any) -> Any:
    return gymnasium.make(id, observation="state", **kwargs)


def molecules(name: str, id: str = "MoleculeGFN-v0", max_blocks: int = 3) -> Any:
    blocks = BLOCK_SETS[name]
    return make(id, blocks=blocks, reward=tilted_molecules, max_blocks=max_blocks)


THREE, FOUR = (erdos_renyi_data(nodes, observations=30, noise=2.0)[0] for nodes in (3, 4))
TRIANGLE = [[0.0, 1.0, -0.5], [1.0, 0.0, 0.2], [-0.5, 0.2, 0.0]]
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("bge", {"data": THREE}),
    ("bic", {"data": THREE, "score": "bic", "max_parents": 1}),
    ("bde", {"data": np.round(THREE), "score": "bde"}),
    ("constrained", {"data": FOUR, "forbidden": [(0, 1)], "required": [(2, 1), ("X0", "X3")]}),
    ("prior", {"data": THREE, "log_prior": lambda graphs: -0.7 * graphs.sum(axis=(1, 2))}),
]

IDS = (
    "HypergridGFN-v0",
    "HypergridGFN-Hard-v0",
    "HypergridGFN-Terminate-v0",
    "HypergridGFN-Hard-Terminate-v0",
)
ENVIRONMENTS: dict[str, Callable[[], Any]] = {
    **{
        f"{id}-{ndim}-{height}": partial(make, id, ndim=ndim, height=height)
        for id in IDS
        for ndim, height in ((1, 8), (2, 6), (3, 4))
    },
    "custom reward": partial(
        make, "HypergridGFN-v0", ndim=2, height=5, reward=tilted, reward_exponent=2.0
    ),
    "bits": partial(make, "BitSequenceGFN-v0", n=8, k=2, n_modes=4),
    "bits terminating": partial(make, "BitSequenceGFN-Terminate-v0", n=6, k=3, modes=["010011"]),
    "bits, own modes": partial(
        make, "BitSequenceGFN-v0", n=8, k=2, modes=["01011010", "11110000"], reward_exponent=0.7
    ),
    **{f"molecules, {name}": partial(molecules, name) for name in BLOCK_SETS},
    "molecules terminating": partial(molecules, "ends", id="MoleculeGFN-Terminate-v0"),
    **SEQUENCES,
    **{f"networks, {name}": partial(make, "BayesianNetworkGFN-v0", **kw) for name, kw in NETWORKS},
    "networks terminating": partial(make, "BayesianNetworkGFN-Terminate-v0", data=THREE),
    "spins": partial(make, "IsingGFN-v0", L=2, field=0.3),
    "spins, raster": partial(make, "IsingGFN-v0", L=3, order="raster"),
    "spins, triangle": partial(make, "IsingGFN-v0", couplings=TRIANGLE, beta=0.9, J=-1.2),
    "spins terminating": partial(make, "IsingGFN-Terminate-v0", L=2, order="raster"),
    **{name: partial(GFNEnv, dag, observation="state") for name, dag in DAGS.items()},
}


@dataclass
class Edge:
    parent: State
    action: int
    reward: float
    ended: bool
    child: State


@dataclass
class Tabular:
    """An environment as seen by trying everything, with the soft solution at λ = 1."""

    env: Any
    start: State = ()
    edges: dict[State, list[Edge]] = field(default_factory=dict)
    values: dict[State, float] = field(default_factory=dict)

    def __post_init__(self):
        self.start = self._replay([])[0]
        prefixes = {self.start: []}
        queue = [self.start]
        for state in queue:
            prefix = prefixes[state]
            mask = self._replay(prefix)[4]["action_mask"]
            self.edges[state] = []
            for action in np.flatnonzero(mask).tolist():
                child, reward, ended, truncated, _ = self._replay([*prefix, action])
                assert not truncated
                self.edges[state].append(Edge(state, action, reward, ended, child))
                if not ended and child not in prefixes:
                    prefixes[child] = [*prefix, action]
                    queue.append(child)

    def _replay(self, actions):
        observation, info = self.env.reset()
        reward, ended, truncated = 0.0, False, False
        for action in actions:
            assert not ended
            observation, reward, ended, truncated, info = self.env.step(action)
        return tuple(observation.tolist()), reward, ended, truncated, info

    def value(self, state: State) -> float:
        """The soft value: log Σ_a exp(r + V(s'))."""
        if state not in self.values:
            self.values[state] = log_sum_exp([self.q(edge) for edge in self.edges[state]])
        return self.values[state]

    def q(self, edge: Edge) -> float:
        return edge.reward + (0.0 if edge.ended else self.value(edge.child))

    def terminal_distribution(self) -> dict[State, float]:
        """P(x) under π* = exp(Q − V), by pushing probability forward."""
        waiting = dict.fromkeys(self.edges, 0)
        for edge in self.all_edges():
            waiting[edge.child] = waiting.get(edge.child, 0) + (not edge.ended)
        reach, ready = {self.start: 1.0}, [self.start]
        objects: dict[State, float] = {}
        for state in ready:
            for edge in self.edges[state]:
                p = reach[state] * math.exp(self.q(edge) - self.value(state))
                into = objects if edge.ended else reach
                into[edge.child] = into.get(edge.child, 0.0) + p
                if not edge.ended:
                    waiting[edge.child] -= 1
                    if waiting[edge.child] == 0:
                        ready.append(edge.child)
        assert set(ready) == set(self.edges)
        return objects

    def all_edges(self):
        return [edge for edges in self.edges.values() for edge in edges]

    def log_reward(self, state: State) -> float:
        return float(self.env.unwrapped.dag.log_reward(np.array([state]))[0])

    def log_backward(self, edge: Edge) -> float | None:
        """log P_B as the reward tells it; None for an explicit stop, which is no edge."""
        if edge.ended and self.env.unwrapped.dag.stop_action is not None:
            assert edge.child == edge.parent
            return None
        return edge.reward - (self.log_reward(edge.child) if edge.ended else 0.0)


def log_sum_exp(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def check_theorem(env: Any) -> Tabular:
    solved = Tabular(env)
    distribution = solved.terminal_distribution()
    log_rewards = {x: solved.log_reward(x) for x in distribution}
    log_z = log_sum_exp(list(log_rewards.values()))
    assert solved.value(solved.start) == pytest.approx(log_z, abs=1e-9)
    for x, log_r in log_rewards.items():
        assert distribution[x] == pytest.approx(math.exp(log_r - log_z), abs=1e-9)
    into: dict[State, float] = {}
    for edge in solved.all_edges():
        log_backward = solved.log_backward(edge)
        if log_backward is not None:
            into[edge.child] = into.get(edge.child, 0.0) + math.exp(log_backward)
    assert set(into) == (set(solved.edges) | set(distribution)) - {solved.start}
    assert list(into.values()) == pytest.approx([1.0] * len(into), abs=1e-9)
    return solved


def random_backward_policy(dag: DAG) -> BackwardPolicy:
    """A fixed P_B that is anything but uniform."""
    weights = np.random.default_rng(7).normal(
        size=(dag.initial_states(1).shape[1] + 1, dag.n_backward_actions)
    )

    def policy(states):
        logits = np.where(
            dag.backward_mask(states), 2.0 * np.sin(states @ weights[:-1] + weights[-1]), -np.inf
        )
        total = np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return logits - np.where(np.isfinite(total), total, 0.0)

    return policy


def random_network(architecture: type[Architecture], dag: DAG) -> BackwardPolicy:
    """A learnt P_B before anything is learnt, with logits several times as large as at first."""
    th.manual_seed(7)
    network = BackwardNetwork(architecture(dag))
    with th.no_grad():
        list(network.parameters())[-2].mul_(20.0)
    return NetworkBackwardPolicy(network, dag)


BACKWARD_POLICIES = {
    "by hand": random_backward_policy,
    "mlp": partial(random_network, MLP),
    "transformer": partial(random_network, Transformer),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_optimal_policy_samples_the_reward(name):
    env = ENVIRONMENTS[name]()
    solved = check_theorem(env)
    known = env.unwrapped.dag.log_partition()
    if known is not None:
        assert solved.value(solved.start) == pytest.approx(known, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(
            (name, kind)
            for kind in ("by hand", "mlp")
            for name in (
                "HypergridGFN-v0-2-6",
                "HypergridGFN-v0-3-4",
                "bits, own modes",
                *(name for name in SEQUENCES if not name.endswith("append")),  # P_B = 1 on a tree
                *DAGS,
            )
        ),
        *((name, "transformer") for name in ("bits, own modes", "words")),
    ],
)
def test_holds_for_any_fixed_backward_policy(name, kind):
    dag = ENVIRONMENTS[name]().unwrapped.dag
    uniform = check_theorem(GFNEnv(dag, observation="state"))
    policy = BACKWARD_POLICIES[kind](dag)
    solved = check_theorem(GFNEnv(dag, observation="state", backward_policy=policy))
    rewards = [[edge.reward for edge in table.all_edges()] for table in (uniform, solved)]
    assert not np.allclose(*rewards), "the backward policy changed nothing: a test of nothing"


@pytest.mark.parametrize("total", [None, 5])
def test_ignoring_parallel_edges_breaks_it(total):
    class Naive(Piles):
        n_parallel = DAG.n_parallel

    right = Tabular(GFNEnv(Piles(total=total), observation="state"))
    naive = Tabular(GFNEnv(Naive(total=total), observation="state"))
    assert abs(naive.value(naive.start) - right.value(right.start)) > 0.01
    check_far(right, naive)


def test_ignoring_parallel_edges_of_words_breaks_it():
    """As if "A" by A were two words, one longer at its end and one at its beginning."""

    class Naive(Sequence):
        log_uniform_backward = DAG.log_uniform_backward
        n_parallel = DAG.n_parallel

    arguments = {"alphabet": "AC", "length": 3, "order": "both_ends", "reward": tilted_words}
    right, naive = (
        Tabular(GFNEnv(dag(**arguments), observation="state")) for dag in (Sequence, Naive)
    )
    assert abs(naive.value(naive.start) - right.value(right.start)) > 0.01
    check_far(right, naive)


@pytest.mark.parametrize("name", ["ring", "unequal ends", "repeats", "twice"])
def test_ignoring_parallel_edges_of_molecules_breaks_it(name):
    """Counting distinct children and leaves, as if each were one edge."""

    class Naive(Molecule):
        log_uniform_backward = DAG.log_uniform_backward
        n_parallel = DAG.n_parallel

    arguments = {"blocks": BLOCK_SETS[name], "reward": tilted_molecules, "max_blocks": 3}
    right, naive = (
        Tabular(GFNEnv(dag(**arguments), observation="state")) for dag in (Molecule, Naive)
    )
    assert abs(naive.value(naive.start) - right.value(right.start)) > 0.01
    check_far(right, naive)


def check_far(right: Tabular, naive: Tabular) -> None:
    right_p, naive_p = right.terminal_distribution(), naive.terminal_distribution()
    assert max(abs(right_p[x] - naive_p[x]) for x in right_p) > 0.01


@pytest.mark.parametrize("biased", [False, True], ids=["uniform", "biased"])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_graph_tells_the_same_numbers(name, biased):
    dag = ENVIRONMENTS[name]().unwrapped.dag
    policy = random_backward_policy(dag) if biased else None
    table = Tabular(GFNEnv(dag, observation="state", backward_policy=policy))
    graph = enumerate_graph(dag)
    objects = table.terminal_distribution()
    keys = [tuple(state) for state in graph.states.tolist()]
    assert set(keys) == set(table.edges) | set(objects) and len(keys) == len(set(keys))
    assert {keys[i] for i in graph.objects} == set(objects)
    assert graph.log_partition() == pytest.approx(table.value(table.start), abs=1e-9)
    ours = {
        (keys[parent], action, keys[child]): log_p
        for parent, action, child, log_p in zip(
            graph.parents.tolist(),
            graph.actions.tolist(),
            graph.children.tolist(),
            graph.log_backward(policy),
            strict=True,
        )
    }
    theirs = {
        (edge.parent, edge.action, edge.child): table.log_backward(edge)
        for edge in table.all_edges()
        if table.log_backward(edge) is not None
    }
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("name", DAGS)
def test_log_backward_needs_no_next_states(name):
    """Batches that mix stops and steps, with and without the next states given."""
    dag = DAGS[name]
    mdp = MDP(dag)
    graph = enumerate_graph(dag)
    rows, actions = np.nonzero(dag.action_mask(graph.states))
    states = graph.states[rows]
    transition = mdp.step(states, actions)
    assert np.array_equal(mdp.log_backward(states, actions), transition.log_backward)
    assert transition.rewards.dtype == np.float64
    assert (transition.log_reward[~transition.done] == 0).all()
    if dag.stop_action is not None:
        assert (transition.log_backward[actions == dag.stop_action] == 0).all()
