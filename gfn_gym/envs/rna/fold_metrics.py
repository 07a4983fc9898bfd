"""How far a sampler of structures is from the Boltzmann ensemble, at any length."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from gfn_gym.arguments import whole
from gfn_gym.dag import Floats, States
from gfn_gym.envs.rna.fold import RNAFold
from gfn_gym.evaluation import Policy, elbo, initial_log_flow, sample
from gfn_gym.mdp import BackwardPolicy


def marginal_errors(dag: RNAFold, states: States) -> dict[str, float]:
    """Compare the base pairs of sampled structures (n, N) with their exact probabilities.

    Returns:
        ``marginal_error``, the largest |frequency − probability| over the P possible pairs, and
        ``mean_marginal_error``. A perfect sampler's largest error is near 1/√n.
    """
    errors = np.abs(dag.pair_frequencies(states) - dag.pair_probabilities())
    return {"marginal_error": float(errors.max()), "mean_marginal_error": float(errors.mean())}


def ensemble_metrics(
    dag: RNAFold,
    policy: Policy,
    n: int = 4096,
    seed: int | np.random.Generator = 0,
    backward_policy: BackwardPolicy | None = None,
) -> dict[str, float]:
    """Compare n structures of a policy, and its log Z, with McCaskill's exact answers.

    Args:
        dag: of any length.
        policy: states → log-probabilities, optionally with ``log_flow``.
        n: structures.
        seed: of a generator of its own, or a generator to draw from.
        backward_policy: that of the training; None is uniform.

    Returns:
        Those of :func:`marginal_errors`; ``elbo``, a lower bound of log Z, and ``elbo_gap`` up to
        it; ``log_z`` and ``log_z_error``, V(s0) and that minus log Z, if the policy has
        ``log_flow``. log Z is that of :meth:`.fold.RNAFold.log_partition`.
    """
    samples = sample(dag, policy, n, seed, backward_policy=backward_policy)
    exact, bound = dag.log_partition(), elbo(samples)
    values = {
        **marginal_errors(dag, samples.states),
        "elbo": bound,
        "elbo_gap": exact - bound,
    }
    learnt = initial_log_flow(dag, policy)
    return values if learnt is None else {**values, "log_z": learnt, "log_z_error": learnt - exact}


@dataclass(slots=True)
class Structures:
    """n distinct structures, the most probable first.

    Attributes:
        structures: in dot-bracket.
        energies: in kcal/mol, float64 (n,).
        probabilities: R/Z, exact, float64 (n,).
        frequencies: their shares of what was sampled, float64 (n,).
    """

    structures: list[str]
    energies: Floats
    probabilities: Floats
    frequencies: Floats

    def __len__(self) -> int:
        return len(self.structures)


def top_structures(dag: RNAFold, states: States, k: int) -> Structures:
    """Return the k most probable structures with their shares of sampled ones (n, N).

    The most probable ones are ViennaRNA's, sampled or not.

    Raises:
        ValueError: k below 1.
    """
    structures = dag.ensemble.best_structures(whole("k", k, least=1))
    log_reward = dag.ensemble.log_weights(structures)
    counts = Counter(dag.format(states))
    return Structures(
        structures,
        dag.ensemble.energies(structures),
        np.exp(log_reward - dag.log_partition()),
        np.array([counts[text] for text in structures]) / len(states),
    )
