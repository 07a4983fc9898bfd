"""The benchmarks of words: what counts as a call, the baselines, how far apart modes are."""

from __future__ import annotations

import importlib
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("RNA")
pytest.importorskip("matplotlib")
pytest.importorskip("tyro")
PAPER = Path(__file__).resolve().parents[1] / "benchmarks" / "paper"


@pytest.fixture
def script(monkeypatch: Any) -> Any:
    monkeypatch.syspath_prepend(str(PAPER))
    return importlib.import_module


def count_of_g(words: list[str]) -> Any:
    return np.array([float(word.count("G")) for word in words])


def test_a_ledger_asks_for_each_word_once_and_ends(script: Any) -> None:
    module, asked = script("binding_modes"), list[str]()

    def asking(words: list[str]) -> Any:
        asked.extend(words)
        return count_of_g(words)

    ledger = module.Ledger(asking, 3)
    assert ledger(["GG", "AG", "GG"]).tolist() == [2, 1, 2]
    assert ledger(["AG"]).tolist() == [1]
    with pytest.raises(module.Spent):
        ledger(["AA", "CC"])
    assert asked == list(ledger.scores) == ["GG", "AG", "AA"]


def test_baselines_spend_all_calls_and_the_genetic_algorithm_climbs(script: Any) -> None:
    module, best = script("binding_modes"), {}
    for method in (module.random_words, module.genetic_algorithm):
        for seed in (0, 1):
            ledger = module.Ledger(count_of_g, 1500)
            with suppress(module.Spent):
                method(ledger, seed)
            assert len(ledger.scores) == 1500 and {len(word) for word in ledger.scores} == {14}
            best[method.__name__, seed] = sorted(ledger.scores.values())[-100:]
    assert best["random_words", 0] != best["random_words", 1]
    for seed in (0, 1):
        climbed = np.mean(best["genetic_algorithm", seed])
        assert climbed > np.mean(best["random_words", seed]) + 2


def test_an_agent_stays_within_the_calls(script: Any) -> None:
    module = script("binding_modes")
    ledger = module.Ledger(count_of_g, 200)
    module.METHODS["TB"](ledger, 0)
    assert 200 - 16 < len(ledger.scores) <= 200


def test_an_agent_of_a_larger_exponent_begins_with_8(script: Any, monkeypatch: Any) -> None:
    module, seen = script("binding_modes"), []
    stop_at: Any = module.StopAt

    class Seeing(stop_at):
        def _on_step(self) -> bool:
            seen.append((self.model.reward_annealing, self.model.replay_pool))
            return False

    monkeypatch.setattr(module, "StopAt", Seeing)
    for name in ("SoftDQN", "SoftDQN, exponent 32", "SoftDQN, exponent 32, pool"):
        module.METHODS[name](module.Ledger(count_of_g, 200), 0)
    assert seen == [(None, 0), ((0.25, 0.5), 0), ((0.25, 0.5), 200)]
    files = [module.csv_of(Path(), name, 0).name for name in module.METHODS]
    assert len(set(files)) == len(files) and not any(set(file) & set(" ,") for file in files)


def test_what_was_found_is_judged_by_the_words_asked_for(script: Any) -> None:
    module = script("binding_modes")
    score = module.RNABinding("RNA1", 14).reward.function.function
    ledger = module.Ledger(score, 30)
    with suppress(module.Spent):
        module.genetic_algorithm(ledger, 0)
    words, scores = list(ledger.scores), list(ledger.scores.values())
    threshold = sorted(scores)[-6]
    first, *_, last = module.judged(ledger, threshold)
    assert (first["calls"], last["calls"]) == (3, 30)
    assert last["good"] == 6 and last["best"] == max(scores)
    assert last["top_100"] == pytest.approx(np.mean(scores))
    apart = [sum(a != b for a, b in zip(*two, strict=True)) for two in combinations(words, 2)]
    assert last["diversity"] == pytest.approx(np.mean(apart))
    assert 1 <= last["modes"] <= 6 and 0 <= last["optima"] <= 6
    assert first["best"] == max(scores[:3])


def test_optima_and_saddles_against_every_way(script: Any, monkeypatch: Any) -> None:
    module = script("binding_landscape")
    monkeypatch.setattr(module, "LENGTH", 3)
    assert sorted(module.neighbors(0)) == [1, 2, 3, 4, 8, 12, 16, 32, 48]
    scores = np.random.default_rng(3).permutation(64).astype(float)
    optima, saddles = module.optima_and_saddles(scores)
    expected = [p for p in range(64) if scores[p] > scores[module.neighbors(p)].max()]
    assert sorted(optima) == expected and len(optima) > 3
    assert saddles[0] == scores.min() and scores[optima[0]] == scores.max()
    for peak, saddle in list(zip(optima, saddles, strict=True))[1:]:
        for level, reaches in ((saddle, True), (saddle + 1, False)):
            seen, new = {peak}, [peak]  # without going below the level
            while new:
                around = {n for word in new for n in module.neighbors(word) if scores[n] >= level}
                new = list(around - seen)
                seen |= around
            assert (max(scores[list(seen)]) > scores[peak]) == reaches


def test_every_run_of_the_figures_has_its_settings(script: Any) -> None:
    agents, presets = script("gfn_gym.agents"), script("gfn_gym.agents.presets")
    from gfn_gym.envs.rna.fold import RNAFold
    from gfn_gym.envs.sequence.dag import Sequence

    exact = script("binding_exact").EXPERIMENT
    folds = [script(name).EXPERIMENT for name in ("rna_folds", "rna_folds_60")]
    longer = script("binding_exact_long").EXPERIMENT
    runs = [run for experiment in (exact, longer, *folds) for run in experiment.runs]
    assert len(runs) == len({run.name for run in runs}) == 3 * 6 * 2 + 2 + 4 + 5
    for run in runs:
        dag: Any = Sequence() if run.env == "SequenceGFN-v0" else RNAFold()
        assert presets.preset_values(getattr(agents, run.agent), dag, run.preset)
    assert {len(panel.runs) for panel in exact.panels} == {6}
    long = RNAFold(folds[1].runs[0].env_kwargs["sequence"])
    assert len(long.sequence) == 60 and long.log_partition() == pytest.approx(16.603, abs=1e-3)
