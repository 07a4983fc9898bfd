"""Exact and sampled evaluation of what was learnt, by whatever library.

Needs numpy only. A policy is a function from states (n, d) to log-probabilities (n, n_actions).
"""

from gfn_gym.evaluation.exact import (
    evaluate_exact,
    initial_log_flow,
    jensen_shannon,
    kl_divergence,
    log_terminal_distribution,
    target_distribution,
    terminal_distribution,
    total_variation,
)
from gfn_gym.evaluation.from_logits import policy_from_logits
from gfn_gym.evaluation.likelihood import Ancestry, ExactCorrelation, Likelihood, log_likelihood
from gfn_gym.evaluation.metrics import (
    EmpiricalDistribution,
    elbo,
    eubo,
    pearson,
    perfect_sampler_floor,
    spearman,
    top_k,
)
from gfn_gym.evaluation.modes import ModeTracker, reward_correlation
from gfn_gym.evaluation.policy import Policy, log_probs_of, uniform_policy
from gfn_gym.evaluation.sampling import Samples, sample, sample_backward
from gfn_gym.evaluation.solve import OptimalPolicy, Solution, solve

__all__ = [
    "Ancestry",
    "EmpiricalDistribution",
    "ExactCorrelation",
    "Likelihood",
    "ModeTracker",
    "OptimalPolicy",
    "Policy",
    "Samples",
    "Solution",
    "elbo",
    "eubo",
    "evaluate_exact",
    "initial_log_flow",
    "jensen_shannon",
    "kl_divergence",
    "log_likelihood",
    "log_probs_of",
    "log_terminal_distribution",
    "pearson",
    "perfect_sampler_floor",
    "policy_from_logits",
    "reward_correlation",
    "sample",
    "sample_backward",
    "solve",
    "spearman",
    "target_distribution",
    "terminal_distribution",
    "top_k",
    "total_variation",
    "uniform_policy",
]
