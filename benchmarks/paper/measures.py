"""What the figures measure in each domain: a policy's metrics, and the callbacks they need."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from experiment import Row
from gfn_gym.agents import ModesCallback, sampled_metrics
from gfn_gym.envs.bit_sequence import flipped_modes
from gfn_gym.evaluation import (
    EmpiricalDistribution,
    ExactCorrelation,
    Policy,
    elbo,
    evaluate_exact,
    perfect_sampler_floor,
    reward_correlation,
    sample,
)
from gfn_gym.graph import enumerate_graph

WINDOW = 200_000  # terminal states, as in arXiv:2310.12934
# One test string in 29 is evaluated. 29 is prime and divides neither n = 120 nor n = 32, so the
# strings kept have every number of flipped bits.
TEST_STEP = 29
N_SAMPLES = 5_000  # by which bits_sampler judges a policy


def exact(model: Any) -> tuple[Any, list[BaseCallback]]:
    """The exact distances, and the paper's empirical one with that of a perfect sampler.

    ``empirical_l1_mean`` is the mean of |p̂ − R/Z| over all objects, where p̂ is the distribution
    of the last 200,000 objects built during training; ``perfect_l1_mean`` is the same for as many
    independent samples from R/Z. Both are NaN before the first object.
    """
    graph = enumerate_graph(model.dag)
    visited = VisitedCallback(EmpiricalDistribution(graph, WINDOW))
    floors: dict[int, float] = {0: float("nan")}

    def metrics(policy: Policy) -> Row:
        n = len(visited.empirical)
        if n not in floors:
            floors[n] = perfect_sampler_floor(graph, n)["l1_mean"]
        empirical = visited.empirical.l1_mean() if n else float("nan")
        distances = {"empirical_l1_mean": empirical, "perfect_l1_mean": floors[n]}
        return {**evaluate_exact(graph, policy), **distances}

    return metrics, [visited]


def distances(model: Any) -> tuple[Any, list[BaseCallback]]:
    """The exact distances alone."""
    graph = enumerate_graph(model.dag)
    return lambda policy: evaluate_exact(graph, policy), []


def folds(model: Any) -> tuple[Any, list[BaseCallback]]:
    """How far 4,096 sampled structures of an RNA and V(s0) are from McCaskill's answers."""
    from gfn_gym.envs.rna.fold_metrics import ensemble_metrics

    def metrics(policy: Policy) -> Row:
        return ensemble_metrics(model.dag, policy, backward_policy=model.backward_policy)

    return metrics, []


def molecules(model: Any) -> tuple[Any, list[BaseCallback]]:
    """Modes found during training, and the correlation on the paper's 950 test molecules."""
    from gfn_gym.envs.molecule.metrics import TanimotoModes
    from gfn_gym.envs.molecule.test_set import paper_test_molecules

    modes = ModesCallback(partial(TanimotoModes, threshold=7.0))
    correlation = ExactCorrelation(model.dag, paper_test_molecules(model.dag).states)

    def metrics(policy: Policy) -> Row:
        return {"modes_found": float(len(modes.tracker)), **correlation(policy)}

    return metrics, [modes]


def bits(model: Any) -> tuple[Any, list[BaseCallback]]:
    """Modes found during training, and the Spearman correlation on part of the test set."""
    modes = ModesCallback()
    test_set = flipped_modes(model.dag)[::TEST_STEP]
    sampled = sampled_metrics(model, 256)

    def metrics(policy: Policy) -> Row:
        correlation = reward_correlation(
            model.dag, policy, test_set, backward_policy=model.backward_policy
        )
        return {"modes_found": float(len(modes.tracker)), **sampled(policy), **correlation}

    return metrics, [modes]


def bits_sampler(model: Any) -> tuple[Any, list[BaseCallback]]:
    """Modes found during training, and four numbers of 5,000 samples of the policy.

    ``modes_covered`` counts the modes that have a sample within the threshold, and
    ``effective_modes`` is exp of the entropy of these samples over their nearest modes;
    ``mode_distance`` is the mean Hamming distance to the nearest mode, and ``elbo_gap`` log Z −
    ELBO. ``perfect_distance`` is what R/Z has, where the modes lie far apart: bits flipped with
    probability 1/(1 + e^β); so is log Z, to the overlap of the modes (below 1e-4 at n = 120).
    """
    dag, modes = model.dag, ModesCallback()
    beta, n_modes = dag.reward_exponent, len(np.unique(dag.modes, axis=0))
    log_z = math.log(n_modes) + dag.n * math.log1p(math.exp(-beta))

    def metrics(policy: Policy) -> Row:
        drawn = sample(
            dag, policy, N_SAMPLES, batch_size=1000, backward_policy=model.backward_policy
        )
        distances = dag.mode_distances(drawn.states)
        least, nearest = distances.min(axis=1), distances.argmin(axis=1)
        counts = np.bincount(nearest[least <= dag.mode_threshold])
        shares = counts[counts > 0] / max(1, counts.sum())
        return {
            "modes_found": float(len(modes.tracker)),
            "modes_covered": float(len(shares)),
            "effective_modes": math.exp(-(shares * np.log(shares)).sum()) if len(shares) else 0.0,
            "mode_distance": float(least.mean()),
            "elbo_gap": log_z - elbo(drawn),
            "perfect_modes": float(n_modes),
            "perfect_distance": dag.n / (1 + math.exp(beta)),
        }

    return metrics, [modes]


class VisitedCallback(BaseCallback):
    """Adds the objects built during training to their empirical distribution."""

    def __init__(self, empirical: EmpiricalDistribution):
        super().__init__()
        self.empirical = empirical

    def _on_step(self) -> bool:
        transition = self.locals["transition"]
        if transition.done.any():
            self.empirical.add(transition.next_states[transition.done])
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"states": self.empirical.states()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.empirical.add(state["states"])
