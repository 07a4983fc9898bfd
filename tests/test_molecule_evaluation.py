"""Evaluation of molecules: exact likelihoods, modes, the best ones, the paper's test molecules."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rdkit import Chem, DataStructs

from block_sets import BLOCK_SETS, tilted
from gfn_gym import DAG, GFNEnv
from gfn_gym.agents import ModesCallback, SoftDQN
from gfn_gym.dag import States
from gfn_gym.edges import Edges, parallel_edges
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.envs.molecule.metrics import (
    TanimotoModes,
    distinct_molecules,
    diverse_molecules,
    diversity,
    scores_of,
    top_molecules,
)
from gfn_gym.envs.molecule.test_set import paper_test_molecules
from gfn_gym.envs.molecule.vocabulary import Pair
from gfn_gym.evaluation import (
    Ancestry,
    ExactCorrelation,
    Policy,
    log_terminal_distribution,
    pearson,
    sample,
    uniform_policy,
)
from gfn_gym.graph import enumerate_graph
from seh_data import data_folder, needs_data

__all__ = ["data_folder"]

each_set = pytest.mark.parametrize("blocks", BLOCK_SETS.values(), ids=BLOCK_SETS)


def rough_policy(dag: DAG) -> Policy:
    """Log-probabilities that differ from action to action and from state to state."""

    def policy(states: States) -> np.ndarray:
        logits = np.sin(
            states @ np.arange(1.0, 1 + states.shape[1])[:, None] + 1.7 * np.arange(dag.n_actions)
        )
        logits = np.where(dag.action_mask(states), 2 * logits, -np.inf)
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)

    return policy


@pytest.fixture(scope="module")
def ours() -> Molecule:
    """Our own vocabulary with a reward that costs nothing."""
    return Molecule(reward=tilted, max_blocks=4)


@pytest.fixture(scope="module")
def objects(ours: Molecule) -> States:
    """A hundred molecules, some of them twice."""
    states = sample(ours, uniform_policy(ours), 100).states
    return np.concatenate([states, states[:20]])


# ---- likelihoods ------------------------------------------------------------------------------


@each_set
def test_likelihoods_over_shared_ancestors_are_the_terminal_distribution(
    blocks: list[Pair],
) -> None:
    dag = Molecule(blocks, tilted, max_blocks=4)
    graph = enumerate_graph(dag)
    policy = rough_policy(dag)
    expected = log_terminal_distribution(graph, policy)
    order = np.random.default_rng(0).permutation(len(graph.objects))
    order = np.concatenate([order, order[:5]])  # repeats
    ancestry = Ancestry(dag, graph.states[graph.objects[order]])
    assert ancestry.exact.all()
    assert len(ancestry) <= len(graph.states)
    assert ancestry.log_prob(policy) == pytest.approx(expected[order], abs=1e-9)


@each_set
def test_candidates_hold_all_parallel_actions(blocks: list[Pair]) -> None:
    dag = Molecule(blocks, tilted, max_blocks=4)
    graph = enumerate_graph(dag)
    parents, children = graph.states[graph.parents], graph.states[graph.children]
    edges = Edges(parents, graph.actions, children)
    rows, found = parallel_edges(dag, edges)
    counts = np.bincount(rows, minlength=len(parents))
    assert counts.tolist() == dag.n_parallel(edges).tolist()
    every = DAG.parallel_candidates(dag, parents, graph.actions)
    candidates = dag.parallel_candidates(parents, graph.actions)
    assert (candidates <= every).all()
    assert candidates[rows, found.actions].all()


def test_objects_with_many_ancestors_are_counted_not_dropped() -> None:
    dag = Hypergrid(ndim=2, height=6)
    objects = np.array([[5, 5], [0, 3], [1, 1], [2, 0], [5, 5]])
    ranking = ExactCorrelation(dag, objects, max_ancestors=4)
    assert ranking.ancestry.exact.tolist() == [False, True, True, True, False]
    policy = uniform_policy(dag)
    values = ranking(policy)
    assert (values["objects"], values["left_out"]) == (3, 2)
    full = ExactCorrelation(dag, objects)
    log_prob = full.ancestry.log_prob(policy)
    assert np.isnan(ranking.ancestry.log_prob(policy)).tolist() == [True, False, False, False, True]
    assert values["pearson"] == pytest.approx(pearson(full.log_reward[1:4], log_prob[1:4]))
    with pytest.raises(ValueError, match="0 of 1 objects have at most max_ancestors=4"):
        ExactCorrelation(dag, objects[:1], max_ancestors=4)


# ---- modes and the best -----------------------------------------------------------------------


@cache
def fingerprint(smiles: str) -> Any:
    return Chem.RDKFingerprint(Chem.MolFromSmiles(smiles), fpSize=2048)


def similarity(a: str, b: str) -> float:
    return DataStructs.TanimotoSimilarity(fingerprint(a), fingerprint(b))


def test_molecules_are_merged_by_smiles(ours: Molecule) -> None:
    # Benzyl and phenyl-then-methylene: two trees, one molecule.
    blocks = [["c1ccccc1", [0]], ["C", [0, 0]], ["Cc1ccccc1", [0, 0]], ["O", [0]]]
    dag = Molecule(blocks, tilted, max_blocks=3)
    states = dag.states_of_blocks(
        [[0, 1, 3], [2, 3], [2, 3]],
        [[[0, 1, 0, 0], [1, 2, 0, 0]], [[0, 1, 0, 0]], [[0, 1, 0, 0]]],
        [[], [[0, 0]], []],
    )
    molecules = distinct_molecules(dag, states)
    assert molecules.smiles == ["OCc1ccccc1"]
    assert molecules.log_reward[0] == dag.log_reward(states).max()
    assert (molecules.states[0] == states[dag.log_reward(states).argmax()]).all()


def test_top_and_diverse_molecules(ours: Molecule, objects: States) -> None:
    best = top_molecules(ours, objects, 25)
    every = distinct_molecules(ours, objects)
    assert len(best) == 25 < len(every)
    assert best.smiles == every.smiles[:25]
    assert (np.diff(every.log_reward) <= 0).all()
    assert len(set(every.smiles)) == len(every)
    assert best.log_reward == pytest.approx(ours.log_reward(best.states))

    threshold = float(np.median(every.scores))
    modes = diverse_molecules(ours, objects, threshold, similarity=0.25)
    assert 1 < len(modes) < len(every)
    assert modes.scores.min() >= threshold
    assert modes.smiles[0] == every.smiles[0]
    pairs = [similarity(a, b) for a, b in combinations(modes.smiles, 2)]
    assert max(pairs) < 0.25
    left_out = 0
    # Greedily: whatever was left out is similar to a better one that was not.
    for place, smiles in enumerate(every.smiles):
        if every.scores[place] >= threshold and smiles not in modes.smiles:
            left_out += 1
            better = [m for m in modes.smiles if every.smiles.index(m) < place]
            assert max(similarity(smiles, m) for m in better) >= 0.25
    assert left_out > 3
    assert len(diverse_molecules(ours, objects, similarity=0.25, k=3)) == 3


def test_diversity_is_the_mean_distance() -> None:
    smiles = ["CCO", "c1ccccc1", "c1ccccc1O"]
    expected = np.mean([1 - similarity(a, b) for a, b in combinations(smiles, 2)])
    assert diversity(smiles) == pytest.approx(expected)
    assert np.isnan(diversity(["CCO"]))
    with pytest.raises(ValueError, match="'no' is not a valid SMILES"):
        diversity(["CCO", "no"])


def test_modes_a_few_at_a_time(ours: Molecule, objects: States) -> None:
    threshold = float(np.median(scores_of(ours, objects)))
    tracker = TanimotoModes(ours, threshold, similarity=0.25)
    for start in range(0, len(objects), 7):
        tracker.add(objects[start : start + 7])
    found = np.stack(tracker.states)
    count = len(tracker)
    assert count > 10
    assert (scores_of(ours, found) >= threshold).all()
    smiles = distinct_molecules(ours, found).smiles
    assert max(similarity(a, b) for a, b in combinations(smiles, 2)) < 0.25
    tracker.add(objects)  # nothing new in it
    assert len(tracker) == count

    again = TanimotoModes(ours, threshold, similarity=0.25)
    again.load_state_dict(tracker.state_dict())
    again.add(objects)
    assert len(again) == count
    at_once = TanimotoModes(ours, threshold, similarity=0.25)
    at_once.add(objects)  # the best first
    expected = diverse_molecules(ours, objects, threshold, similarity=0.25)
    assert sorted(row.tobytes() for row in at_once.states) == sorted(
        row.tobytes() for row in expected.states
    )
    with pytest.raises(ValueError, match="similarity=0"):
        TanimotoModes(ours, similarity=0.0)


def test_molecules_just_as_similar_as_the_threshold_are_one_mode(
    ours: Molecule, objects: States
) -> None:
    """A mode is *less* similar than that to those before it."""
    best = top_molecules(ours, objects, 2)
    exactly = similarity(*best.smiles)
    assert 0 < exactly < 1
    for threshold, count in ((exactly, 1), (np.nextafter(exactly, 1.0), 2)):
        tracker = TanimotoModes(ours, threshold=-np.inf, similarity=threshold)
        tracker.add(best.states)
        assert len(tracker) == count
        assert len(diverse_molecules(ours, best.states, similarity=threshold)) == count


def test_a_score_just_at_the_threshold_is_a_mode(ours: Molecule, objects: States) -> None:
    best = top_molecules(ours, objects, 1)
    score = float(best.scores[0])
    for threshold, count in ((score, 1), (np.nextafter(score, np.inf), 0)):
        tracker = TanimotoModes(ours, threshold)
        tracker.add(best.states)
        assert len(tracker) == len(diverse_molecules(ours, best.states, threshold)) == count


def test_modes_while_training(ours: Molecule) -> None:
    callback = ModesCallback(lambda dag: TanimotoModes(dag, threshold=-0.5))
    model = SoftDQN("SmallBlockTreePolicy", GFNEnv(ours), n_envs=16, seed=0, device="cpu")
    model.learn(320, callback=callback)
    assert len(callback.tracker) > 3
    with pytest.raises(TypeError, match="has no modes to find"):
        model.learn(16, callback=ModesCallback())


# ---- the paper's test molecules ---------------------------------------------------------------


@needs_data
def test_the_paper_s_test_molecules_need_its_blocks(ours: Molecule, data_folder: Path) -> None:
    for dag in (ours, Hypergrid(2, 3)):
        with pytest.raises(ValueError, match=r"dag=.* must have the blocks .*blocks='pdb105'"):
            paper_test_molecules(dag)  # type: ignore[arg-type]


@needs_data
def test_all_test_molecules_of_the_paper_are_evaluated(data_folder: Path) -> None:
    dag = Molecule("pdb105", tilted)
    test_set = paper_test_molecules(dag)
    assert len(test_set.states) == 950
    assert not test_set.left_out
    few = test_set.states[::40]
    ranking = ExactCorrelation(dag, few)
    assert ranking(uniform_policy(dag))["objects"] == len(few)

    small = paper_test_molecules(Molecule("pdb105", tilted, max_blocks=5))
    assert len(small.states) + len(small.left_out) == 950
    assert "there must be 1 to max_blocks=5" in small.left_out[0][1]


def test_the_old_place_of_the_metrics_goes_on_working() -> None:
    sys.modules.pop("gfn_gym.evaluation.molecules", None)
    with pytest.warns(DeprecationWarning, match=r"moved to gfn_gym\.envs\.molecule\.metrics"):
        old = importlib.import_module("gfn_gym.evaluation.molecules")
    assert old.TanimotoModes is TanimotoModes
    assert old.paper_test_molecules is paper_test_molecules
