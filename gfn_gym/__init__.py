"""GFN Gym: generative flow networks as reinforcement learning environments.

Importing registers the environments with Gymnasium. Needs numpy and gymnasium only; the agents
(torch, stable-baselines3) are in :mod:`gfn_gym.agents`.
"""

from gfn_gym.checks import check_dag
from gfn_gym.dag import DAG
from gfn_gym.env import GFNEnv
from gfn_gym.mdp import MDP
from gfn_gym.registration import register
from gfn_gym.vector_env import GFNVectorEnv

__version__ = "0.2.0"
__all__ = ["DAG", "MDP", "GFNEnv", "GFNVectorEnv", "check_dag", "register"]

register(
    "HypergridGFN-v0",
    "gfn_gym.envs.hypergrid:Hypergrid",
    policy="MlpPolicy",
    presets="gfn_gym.agents.presets.hypergrid:PRESETS",
)
register("HypergridGFN-Hard-v0", "gfn_gym.envs.hypergrid:Hypergrid", reward="hard")
register(
    "BitSequenceGFN-v0",
    "gfn_gym.envs.bit_sequence:BitSequence",
    policy="TransformerPolicy",
    presets="gfn_gym.agents.presets.bit_sequence:PRESETS",
)
register(
    "MoleculeGFN-v0",
    "gfn_gym.envs.molecule.dag:Molecule",
    policy="SmallBlockTreePolicy",
    presets="gfn_gym.agents.presets.molecule:PRESETS",
)
