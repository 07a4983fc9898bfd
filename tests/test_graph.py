"""The layout that exact evaluation reads: numbers, layers, look-ups, refusals."""

import re
import time
import tracemalloc

import numpy as np
import pytest
from gymnasium import spaces

from dags import DAGS, Strides, Words
from gfn_gym.enumeration import estimated_states
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.ising import Ising
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.graph import batches, enumerate_graph, inside


class Wide(Words):
    """The same words in a state space of more than 2^63 rows, so that keys are no integers."""

    def __init__(self):
        super().__init__()
        self.state_space = spaces.MultiDiscrete([2**40] * self.length)


class Shifted(Words):
    """A state space of Gymnasium's that is no MultiDiscrete."""

    def __init__(self):
        super().__init__()
        self.state_space = spaces.Box(0, 5, (self.length,), dtype=np.int64)


ALL = {**DAGS, "hypergrid": Hypergrid(3, 5), "wide": Wide(), "box": Shifted()}


@pytest.mark.parametrize("name", ALL)
def test_layout(name):
    dag = ALL[name]
    graph = enumerate_graph(dag)
    n, edges = len(graph.states), len(graph.parents)
    assert np.array_equal(graph.states[0], dag.initial_states(1)[0])
    assert (graph.parents < graph.children).all()
    assert graph.layers[0] == graph.edge_layers[0] == 0
    assert (graph.layers[-1], graph.edge_layers[-1]) == (n, edges)
    layer = np.repeat(np.arange(len(graph.layers) - 1), np.diff(graph.layers))
    edge_layer = np.repeat(np.arange(len(graph.layers) - 1), np.diff(graph.edge_layers))
    assert np.array_equal(layer[graph.parents], edge_layer)
    longest = np.zeros(n, dtype=int)  # by the definition, edge by edge in topological order
    for parent, child in zip(graph.parents, graph.children, strict=True):
        longest[child] = max(longest[child], longest[parent] + 1)
    assert np.array_equal(layer, longest)
    nexts, _ = dag.step(graph.states[graph.parents], graph.actions)
    assert np.array_equal(nexts, graph.states[graph.children])
    assert (np.diff(graph.objects) > 0).all()


@pytest.mark.parametrize(
    ("name", "states", "edges", "objects", "layers"),
    [
        ("words", 27, 54, 8, 4),
        ("piles", 20, 45, 20, 10),
        ("piles_total", 13, 28, 3, 6),
        ("strides", 16, 40, 16, 7),
        ("hypergrid", 125, 300, 125, 13),
    ],
)
def test_sizes(name, states, edges, objects, layers):
    graph = enumerate_graph(ALL[name])
    sizes = (len(graph.states), len(graph.parents), len(graph.objects), len(graph.layers) - 1)
    assert sizes == (states, edges, objects, layers)


@pytest.mark.parametrize("name", ALL)
def test_index_of(name):
    dag = ALL[name]
    graph = enumerate_graph(dag)
    order = np.random.default_rng(0).permutation(len(graph.states))
    assert np.array_equal(graph.index_of(graph.states[order]), order)
    assert np.array_equal(graph.index_of(graph.states[order].astype(np.int32)), order)
    outside = dag.initial_states(2) + np.array([[2**39], [-(2**39)]])
    assert graph.index_of(outside).tolist() == [-1, -1]
    assert graph.index_of(graph.states[:0]).tolist() == []


def test_index_of_rows_that_no_walk_reaches():
    graph = enumerate_graph(DAGS["piles"])
    assert graph.index_of(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 7]])).tolist() == [1, -1, -1]


def test_index_of_rows_outside_whose_key_is_that_of_another():
    graph = enumerate_graph(Hypergrid(3, 5))
    assert graph.index_of(np.array([[0, 0, 7], [0, 2, -3]])).tolist() == [-1, -1]
    assert (graph.index_of(np.array([[0, 1, 2]])) >= 0).all()


def test_structured_keys_find_the_same_graph():
    narrow, wide = enumerate_graph(Words()), enumerate_graph(Wide())
    assert np.array_equal(np.sort(narrow.states, axis=0), np.sort(wide.states, axis=0))
    assert wide.log_partition() == pytest.approx(narrow.log_partition(), abs=1e-12)


def test_more_than_max_states():
    with pytest.raises(ValueError, match="more than max_states=15 states"):
        enumerate_graph(Strides(), max_states=15)
    assert len(enumerate_graph(Strides(), max_states=16).states) == 16
    with pytest.raises(ValueError, match=r"Hypergrid\(ndim=12.*more than max_states=1000"):
        enumerate_graph(Hypergrid(12, 10), max_states=1000)


def test_cycle():
    class Circle(Strides):
        def action_mask(self, states):
            return np.ones((len(states), self.n_actions), dtype=bool)

        def step(self, states, actions):
            nexts, done = super().step(states, actions)
            return nexts % self.height, done

    match = r"cycle: action \d leads from state \[\d, \d\] back to \[\d, \d\]; 16 of 16 states"
    with pytest.raises(ValueError, match=match) as caught:
        enumerate_graph(Circle())
    action, *cells = map(int, re.findall(r"\d", str(caught.value))[:5])
    states, ends = np.array([cells[:2]]), cells[2:]
    assert Circle().step(states, np.array([action]))[0].tolist() == [ends]  # the edge is there


class Bits(BitSequence):
    """Does not know how many states it has."""

    def n_states(self):
        return None


class Endless(Hypergrid):
    """Grows without bound in one coordinate, state by state."""

    def __init__(self):
        super().__init__(2, 3)
        self.state_space = spaces.Box(0, 2**31 - 1, (2,), np.int32)

    def n_states(self):
        return None

    def max_trajectory_length(self):
        return None

    def action_mask(self, states):
        return np.tile([True, False, True], (len(states), 1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: BitSequence(120, 8),
        lambda: BitSequence(28, 14, modes=["0" * 28]),
        lambda: Hypergrid(8, 20),
        Molecule,
        lambda: Bits(28, 14, modes=["0" * 28]),
        lambda: Bits(16, 8),
        Ising,
        Sequence,
    ],
)
def test_what_is_too_large_is_refused_at_once(make):
    """Within a second, and before a layer of millions is made; what else there is is named."""
    dag, clock = make(), time.process_time()
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"more than max_states=10000 states: .* by samples"):
        enumerate_graph(dag, 10_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - clock < 1 and most < 2e8


@pytest.mark.parametrize("make", [lambda: Bits(120, 8), lambda: Bits(28, 14, modes=["0" * 28])])
def test_what_does_not_know_its_size_is_refused_long_before_the_default_limit(make):
    """Walks show that there are far more, so that the million is never made."""
    dag, clock = make(), time.process_time()
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than max_states=1000000 states"):
        enumerate_graph(dag)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - clock < 1 and most < 1e8


def test_the_number_of_states_is_estimated_by_walks():
    for dag in (Hypergrid(4, 6), BitSequence(24, 4, modes=["0" * 24])):
        assert estimated_states(dag, 1e12) == pytest.approx(dag.n_states(), rel=0.5)
        assert estimated_states(dag, dag.n_states() / 2) is None


def test_many_states_are_no_reason_to_refuse_what_the_limit_allows(monkeypatch):
    monkeypatch.setattr("gfn_gym.enumeration.ESTIMATED_FROM", 100)
    monkeypatch.setattr("gfn_gym.enumeration.UNLIKELY", 2.0)
    assert len(enumerate_graph(Bits(16, 4, modes=["0" * 16])).states) == 17**4


def test_what_never_ends_is_refused():
    with pytest.raises(ValueError, match="more than max_states=3000 states"):
        enumerate_graph(Endless(), 3000)
    clock = time.process_time()
    with pytest.raises(ValueError, match=r"Hypergrid.* does not end within 4096 steps: .*n_states"):
        enumerate_graph(Endless())
    assert time.process_time() - clock < 1.5


def test_what_goes_on_for_longer_than_it_says_is_refused():
    class Longer(Endless):
        def max_trajectory_length(self):
            return 7

    with pytest.raises(ValueError, match="does not end within 7 steps"):
        enumerate_graph(Longer())


def test_many_steps_are_allowed_to_what_says_that_it_ends():
    assert len(enumerate_graph(Hypergrid(1, 5000)).states) == 5000


@pytest.mark.parametrize(
    ("dag", "n"),
    [
        (Hypergrid(3, 4), 64),
        (BitSequence(6, 2, modes=["0" * 6]), 125),
        (BitSequence(8, 1, modes=["0" * 8]), 3**8),
    ],
)
def test_the_number_of_states(dag, n):
    assert dag.n_states() == n == len(enumerate_graph(dag, n).states)


def test_the_number_of_molecules_is_bounded_from_below():
    dag = Molecule([["CC", [0, 1]], ["CN", [0, 1]], ["F", [0]]], max_blocks=3)
    assert 1 < dag.n_states() <= len(enumerate_graph(dag).states)


@pytest.mark.parametrize("value", [0, -1, None, "many", 1e6, True])
def test_bad_limits_are_named(value):
    with pytest.raises(ValueError, match=r"max_states=.* must be an integer of at least 1"):
        enumerate_graph(Hypergrid(2, 3), value)


def test_step_out_of_the_state_space():
    class Outside(Strides):
        def action_mask(self, states):
            return np.ones((len(states), self.n_actions), dtype=bool)

    with pytest.raises(ValueError, match=r"action 3 leads from state \[0, 2\] to \[0, 4\], out"):
        enumerate_graph(Outside())


@pytest.mark.parametrize("start", [None, [1, -2]])
def test_inside_asks_of_all_rows_what_the_space_asks_of_one(start):
    space = spaces.MultiDiscrete([3, 2], start=start)
    rows = np.mgrid[-4:6, -4:6].reshape(2, -1).T
    assert inside(space, rows).tolist() == [row in space for row in rows]
    assert inside(space, rows).sum() == 6


def test_batches_cover_everything_once():
    assert [range(10)[part] for part in batches(10, 4)] == [range(4), range(4, 8), range(8, 10)]
    assert list(batches(0)) == []
