"""Presets of words and of RNA folds: every algorithm trains by them, and learns."""

from __future__ import annotations

from typing import Any

import pytest

from gfn_gym import GFNEnv, agents
from gfn_gym.agents import as_policy
from gfn_gym.agents.presets import rna_fold, sequence
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.evaluation import evaluate_exact
from sequence_envs import needs_rna, tilted_words

ALGORITHMS = sorted(sequence.presets(Sequence(length=4))["fast"])
SMALL: dict[str, Any] = {"seed": 0, "device": "cpu", "preset": "fast"}


def words(order: str = "any") -> GFNEnv:
    return GFNEnv(Sequence("ACG", length=3, order=order, reward=tilted_words))


def test_both_domains_have_every_algorithm() -> None:
    expected = {
        "SoftDQN", "MunchausenDQN", "SoftActorCritic", "FlowMatching", "TrajectoryBalance",
        "DetailedBalance", "SubTrajectoryBalance", "EntropicPPO",
    }  # fmt: skip
    assert set(ALGORITHMS) == set(rna_fold.PRESETS["fast"]) == expected


@pytest.mark.parametrize(
    ("alphabet", "length", "ngram"),
    [("ACGU", 8, 4), ("ACGU", 2, 2), ("ACGU", 1, 1), ("ACDEFGHIKLMNPQRSTVWY", 9, 2)],
)
def test_windows_fit_into_words_and_memory(alphabet: str, length: int, ngram: int) -> None:
    dag = Sequence(alphabet, length=length)
    for algorithm in ALGORITHMS:
        model: Any = getattr(agents, algorithm)("auto", GFNEnv(dag), **SMALL)
        assert model.policy_kwargs["ngram"] == ngram


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_words_in_few_trajectories(algorithm: str) -> None:
    """From 0.49 of the uniform policy; as far as each gets in about two seconds."""
    on_policy = algorithm.endswith("Balance") or algorithm == "EntropicPPO"
    given = {} if on_policy else {"learning_starts": 256}
    model: Any = getattr(agents, algorithm)("auto", words(), **SMALL, **given)
    before = evaluate_exact(model.dag, as_policy(model))["total_variation"]
    model.learn(total_trajectories=2_000)
    after = evaluate_exact(model.dag, as_policy(model))["total_variation"]
    assert after < 0.6 * before and after < 0.3


@pytest.mark.parametrize("order", ["any", "append", "both_ends"])
def test_the_fast_preset_learns_in_every_order(order: str) -> None:
    model = agents.SoftDQN("auto", words(order), **SMALL, learning_starts=256)
    model.learn(total_trajectories=4_000)
    assert evaluate_exact(model.dag, as_policy(model))["total_variation"] < 0.04


def test_a_transformer_reads_words() -> None:
    kwargs = {"layers": 1, "heads": 2, "width": 8, "feed_forward": 8}
    model = agents.SoftDQN("TransformerPolicy", words(), **SMALL, policy_kwargs=kwargs)
    model.learn(total_trajectories=64)
    assert evaluate_exact(model.dag, as_policy(model))["total_variation"] < 0.9


@needs_rna
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_folds_train(algorithm: str) -> None:
    from gfn_gym.envs.rna.fold import RNAFold

    env = GFNEnv(RNAFold("GGGAAAUCCC"), potential="dag")
    on_policy = algorithm.endswith("Balance") or algorithm == "EntropicPPO"
    given: dict[str, Any] = {} if on_policy else {"learning_starts": 128, "buffer_size": 1_000}
    model: Any = getattr(agents, algorithm)("auto", env, **SMALL, **given)
    model.learn(total_trajectories=256)
    assert evaluate_exact(model.dag, as_policy(model))["total_variation"] < 1


@needs_rna
def test_the_fast_preset_leaves_the_open_chain() -> None:
    """P(open chain) is 0.02 here; whoever stops at once has a total variation of 0.98."""
    from gfn_gym.envs.rna.fold import RNAFold

    env = GFNEnv(RNAFold("GGGAAAUCCC"), potential="dag")
    model = agents.SoftDQN("auto", env, **SMALL, learning_starts=1024)
    model.learn(total_trajectories=6_000)
    result = evaluate_exact(model.dag, as_policy(model))
    assert result["total_variation"] < 0.05 and abs(result["log_z_error"]) < 0.1
