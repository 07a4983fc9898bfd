"""Structure MCMC: a walk from graph to graph, the usual sampler of a posterior over graphs."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import States
from gfn_gym.envs.bayesian_network import BayesianNetwork


def structure_mcmc(
    dag: BayesianNetwork, seconds: float, chains: int = 64, seed: int = 0, burn_in: float = 0.25
) -> States:
    """Return graphs visited by structure MCMC (Madigan and York 1995), int8 (n, d²).

    A proposal takes an ordered pair of nodes at random and toggles the edge i → j, or reverses it;
    both are their own inverse, so the Metropolis rule needs no correction. Every chain's graph is
    kept once in d² proposals, after a share ``burn_in`` of the CPU seconds.
    """
    generator = np.random.default_rng(seed)
    states, d, rows = dag.initial_states(chains), dag.d, np.arange(chains)
    log_reward, kept = dag.log_reward(states), []
    begin = time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        for _ in range(d**2):
            proposals = propose(dag.adjacency(states), generator)
            legal = dag.contains(proposals)
            proposed = np.where(legal[:, None], proposals.reshape(chains, -1), states != 0)
            new = dag.log_reward(proposed)
            accept = np.log(generator.random(chains)) < new - log_reward
            states[accept] = proposed[rows[accept]]
            log_reward = np.where(accept, new, log_reward)
        if spent >= burn_in * seconds:
            kept.append(states.copy())
    return np.concatenate(kept or [states])


def propose(graphs: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.bool_]:
    """Toggle or reverse one edge of every graph (n, d, d); a missing edge is not reversed."""
    n, d = graphs.shape[:2]
    rows, i = np.arange(n), generator.integers(d, size=n)
    j = (i + generator.integers(1, d, size=n)) % d
    result, there = graphs.copy(), graphs[np.arange(n), i, j]
    reverse = generator.random(n) < 0.5
    result[rows, i, j] = np.where(reverse, False, ~there)
    result[rows, j, i] |= reverse & there
    return result
