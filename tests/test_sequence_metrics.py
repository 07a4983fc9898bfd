"""Modes, the best words, diversity and local optima of words; errors of sampled RNA folds."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gfn_gym import GFNEnv
from gfn_gym.agents import ModesCallback, SoftDQN
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.envs.sequence.metrics import (
    BestWords,
    WordModes,
    are_local_optima,
    distances,
    diverse_words,
    diversity,
    scores_of,
    top_words,
)
from sequence_envs import needs_rna

WORDS = ["AAAA", "AAAC", "CCCC", "CAAA", "ACAC", "GGGG"]


def first_letters(words: list[str]) -> list[float]:
    """Ranks words as a dictionary does, A best."""
    return [-sum("ACG".index(c) * 3.0 ** (3 - i) for i, c in enumerate(word)) for word in words]


@pytest.fixture
def dag() -> Sequence:
    return Sequence("ACG", length=4, reward=first_letters)


def by_hand(a: str, b: str) -> int:
    """Levenshtein's distance, letter by letter."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def test_distances_by_hand(dag: Sequence) -> None:
    words = [*WORDS, "CACA"]
    states = dag.parse(words)
    hamming = [[sum(x != y for x, y in zip(a, b, strict=True)) for b in words] for a in words]
    assert distances(dag, states, states).tolist() == hamming
    pytest.importorskip("rapidfuzz")
    edit = [[by_hand(a, b) for b in words] for a in words]
    assert distances(dag, states, states, "edit").tolist() == edit
    assert edit != hamming  # CACA is two from ACAC
    assert diversity(dag, states[:3]) == pytest.approx((1 + 4 + 3) / 3)
    assert np.isnan(diversity(dag, states[:1]))


def test_tokens_and_lengths_count_once() -> None:
    dag = Sequence(["Lys", "Gly"], max_length=3, order="append")
    states = dag.parse(["Lys", "LysGly", "GlyLysGly"])
    assert distances(dag, states[:1], states).tolist() == [[0, 1, 3]]
    pytest.importorskip("rapidfuzz")
    assert distances(dag, states[:1], states, "edit").tolist() == [[0, 1, 2]]
    assert distances(dag, states[:0], states, "edit").shape == (0, 3)


def test_the_best_words_unlike_each_other(dag: Sequence) -> None:
    states = dag.parse([*WORDS, "AAAA"])
    assert top_words(dag, states, 3).words == ["AAAA", "AAAC", "ACAC"]
    found = diverse_words(dag, states, apart=2)
    assert found.words == ["AAAA", "ACAC", "CCCC", "GGGG"]
    assert found.scores.tolist() == first_letters(found.words) == found.log_reward.tolist()
    assert diverse_words(dag, states, apart=2, k=2).words == ["AAAA", "ACAC"]
    assert diverse_words(dag, states, threshold=-30, apart=2).words == ["AAAA", "ACAC"]
    with pytest.raises(ValueError, match="metric='angle' must be 'hamming' or 'edit'"):
        diverse_words(dag, states, metric="angle")
    with pytest.raises(ValueError, match="apart=0 must be"):
        WordModes(dag, 0.0, apart=0)


def test_modes_in_the_order_of_finding(dag: Sequence) -> None:
    modes = WordModes(dag, threshold=-30, apart=2)
    modes.add(dag.parse(["AAAC", "GGGG"]))
    modes.add(dag.parse(["AAAA", "ACAC", "AAAC"]))  # one letter from AAAC both
    modes.add(dag.initial_states(0))
    assert dag.format(np.stack(modes.states)) == ["AAAC"]
    modes.add(dag.parse(["CAAA", "ACAA"]))
    assert dag.format(np.stack(modes.states)) == ["AAAC", "ACAA", "CAAA"]
    at_threshold = WordModes(dag, threshold=first_letters(["CAAA"])[0])
    at_threshold.add(dag.parse(["CAAA"]))
    assert len(at_threshold) == 1
    again = WordModes(dag, threshold=-30, apart=2)
    again.load_state_dict(modes.state_dict())
    for tracker in (modes, again):
        tracker.add(dag.parse(["AAAC", "ACCC", "AACC"]))
        assert len(tracker) == 4 and dag.format(tracker.states[-1][None]) == ["ACCC"]


def test_many_modes(dag: Sequence) -> None:
    modes = WordModes(dag, threshold=-np.inf, apart=1)
    modes.add(dag.parse(["".join(word) for word in product("ACG", repeat=4)]))
    assert len(modes) == 81


def test_the_best_are_remembered(dag: Sequence) -> None:
    best, rng = BestWords(dag, k=5), np.random.default_rng(0)
    seen = []
    for _ in range(20):
        states = rng.integers(0, 3, size=(3, 4)).astype(np.int16)
        best.add(states)
        seen.append(states)
    expected = top_words(dag, np.concatenate(seen), 5)
    assert dag.format(best.states) == expected.words
    assert best.scores.tolist() == expected.scores.tolist()
    again = BestWords(dag, k=5)
    again.load_state_dict(best.state_dict())
    again.add(dag.parse(["AAAA"]))
    assert dag.format(again.states)[0] == "AAAA" and len(again) == 5


@pytest.mark.parametrize("lengths", [{"length": 4}, {"max_length": 4, "order": "append"}])
def test_local_optima_by_hand(lengths: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    values = {
        "".join(word): float(rng.integers(6))
        for n in (range(1, 5) if "max_length" in lengths else [4])
        for word in product("ACG", repeat=n)
    }
    dag = Sequence("ACG", reward=values, **lengths)
    expected = [
        all(
            values[word[:i] + letter + word[i + 1 :]] < value
            for i in range(len(word))
            for letter in "ACG"
            if letter != word[i]
        )
        for word, value in values.items()
    ]
    assert 0 < sum(expected) < len(values)
    assert are_local_optima(dag, dag.parse(list(values))).tolist() == expected
    assert are_local_optima(dag, dag.initial_states(0)).shape == (0,)
    negative = are_local_optima(
        dag, dag.parse(list(values)), lambda words: -np.array([values[w] for w in words])
    )
    assert negative.tolist() != expected


def test_modes_are_counted_while_training_and_resumed(tmp_path: Path) -> None:
    dag = Sequence("ACG", length=4, reward={"AAAA": 3.0, "GGGG": 2.0, "GGGC": 2.0}, default=0.0)
    seen: list[Any] = []
    modes = ModesCallback(lambda d: WordModes(d, 1.0, apart=2))
    model: Any = SoftDQN("MlpPolicy", GFNEnv(dag), n_envs=4, seed=0, learning_starts=10_000)
    log_reward = dag.log_reward
    dag.log_reward = lambda states: (seen.append(states), log_reward(states))[1]  # type: ignore
    model.learn(total_trajectories=200, callback=modes)
    expected = WordModes(dag, 1.0, apart=2)
    for states in seen:
        expected.add(states)
    assert len(modes.tracker) == len(expected) == 2
    assert set(scores_of(dag, np.stack(expected.states))) <= {2.0, 3.0}


@needs_rna
def test_errors_of_sampled_folds() -> None:
    from gfn_gym.envs.rna.fold import RNAFold
    from gfn_gym.envs.rna.fold_metrics import ensemble_metrics, marginal_errors, top_structures
    from gfn_gym.evaluation import solve, uniform_policy
    from gfn_gym.graph import enumerate_graph

    dag = RNAFold("GGGAAAUCCC")
    folded = dag.parse(["(((...))).", ".........."])
    exact = dag.pair_probabilities()
    errors = np.abs(dag.pair_frequencies(folded) - exact)
    assert marginal_errors(dag, folded) == {
        "marginal_error": errors.max(), "mean_marginal_error": errors.mean(),
    }  # fmt: skip
    good = ensemble_metrics(dag, solve(enumerate_graph(dag)).policy, n=20_000)
    assert good["marginal_error"] < 0.015 and good["elbo_gap"] == pytest.approx(0, abs=1e-9)
    assert good["log_z_error"] == pytest.approx(0, abs=1e-9)
    bad = ensemble_metrics(dag, uniform_policy(dag), n=2_000)
    assert bad["marginal_error"] > 0.05 and bad["elbo_gap"] > 0.1 and "log_z" not in bad
    found = top_structures(dag, np.repeat(folded, [3, 1], axis=0), 50)
    graph = enumerate_graph(dag)
    order = np.argsort(-graph.log_reward(), kind="stable")
    states = graph.states[graph.objects[order]]
    assert found.energies == pytest.approx(dag.energies(states))
    assert set(found.structures) == set(dag.format(states)) and len(found) == len(states)
    assert found.structures[0] == "(((....)))"
    shares = dict(zip(found.structures, found.frequencies.tolist(), strict=True))
    assert {text: share for text, share in shares.items() if share} == {
        "(((...))).": 0.75, "..........": 0.25,
    }  # fmt: skip
    exact_shares = np.exp(graph.log_reward()[order] - dag.log_partition())
    assert found.probabilities == pytest.approx(exact_shares)
    assert top_structures(dag, folded, 3).structures == found.structures[:3]
