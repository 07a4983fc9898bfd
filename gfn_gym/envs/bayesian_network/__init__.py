"""Bayesian networks: which directed acyclic graph over the columns made these data?"""

from gfn_gym.envs.bayesian_network.dag import BayesianNetwork
from gfn_gym.envs.bayesian_network.simulate import erdos_renyi_data

__all__ = ["BayesianNetwork", "erdos_renyi_data"]
