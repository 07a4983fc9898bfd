"""GFN Gym: generative flow networks as reinforcement learning environments.

Importing registers the environments with Gymnasium. Needs numpy and gymnasium only; the agents
(torch, stable-baselines3) are in :mod:`gfn_gym.agents`. The modules, ``gfn_gym.wrappers`` and
``gfn_gym.evaluation`` for example, are loaded when they are first asked for.
"""

import importlib
from typing import TYPE_CHECKING

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
    presets="gfn_gym.agents.presets.bit_sequence:presets",
)
register(
    "MoleculeGFN-v0",
    "gfn_gym.envs.molecule.dag:Molecule",
    policy="SmallBlockTreePolicy",
    presets="gfn_gym.agents.presets.molecule:PRESETS",
)
register(
    "SequenceGFN-v0",
    "gfn_gym.envs.sequence.dag:Sequence",
    policy="MlpPolicy",
    presets="gfn_gym.agents.presets.sequence:presets",
)
register(
    "RNABindingGFN-v0",
    "gfn_gym.envs.rna.binding:RNABinding",
    policy="MlpPolicy",
    presets="gfn_gym.agents.presets.sequence:presets",
)
register(
    "RNAFoldGFN-v0",
    "gfn_gym.envs.rna.fold:RNAFold",
    policy="MlpPolicy",
    presets="gfn_gym.agents.presets.rna_fold:PRESETS",
)
register(
    "BayesianNetworkGFN-v0",
    "gfn_gym.envs.bayesian_network.dag:BayesianNetwork",
    policy="gfn_gym.agents.presets.bayesian_network:policy",
    presets="gfn_gym.agents.presets.bayesian_network:PRESETS",
)
register(
    "IsingGFN-v0",
    "gfn_gym.envs.ising:Ising",
    policy="SpinsPolicy",
    presets="gfn_gym.agents.presets.ising:PRESETS",
)

_MODULES = ("agents", "envs", "evaluation", "graph", "wrappers")

if TYPE_CHECKING:
    from gfn_gym import envs as envs
    from gfn_gym import evaluation as evaluation
    from gfn_gym import graph as graph
    from gfn_gym import wrappers as wrappers
else:  # out of a checker's sight, which would take any name for one of ours

    def __getattr__(name):
        if name in _MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *_MODULES})
