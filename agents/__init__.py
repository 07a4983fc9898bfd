"""Stable-Baselines3 algorithms for GFN Gym; imported as ``gfn_gym.agents``."""

from .architectures import Architecture
from .base import GFNAlgorithm
from .collectors import Collectors, LocalCollector, RayCollectors
from .detailed_balance import DetailedBalance
from .entropic_ppo import EntropicPPO
from .evaluation import as_policy
from .flow_matching import FlowMatching
from .munchausen_dqn import MunchausenDQN
from .planning import MENTS
from .policy import GFNPolicy
from .soft_actor_critic import SoftActorCritic
from .soft_dqn import SoftDQN
from .sub_trajectory_balance import SubTrajectoryBalance
from .training.callbacks import EvaluationCallback, exact_metrics, sampled_metrics
from .training.checkpoint import TrainingCheckpoint
from .training.modes import ModesCallback
from .trajectory_balance import TrajectoryBalance
from .vec_env import GFNVecEnv

__all__ = [
    "MENTS",
    "Architecture",
    "Collectors",
    "DetailedBalance",
    "EntropicPPO",
    "EvaluationCallback",
    "FlowMatching",
    "GFNAlgorithm",
    "GFNPolicy",
    "GFNVecEnv",
    "LocalCollector",
    "ModesCallback",
    "MunchausenDQN",
    "RayCollectors",
    "SoftActorCritic",
    "SoftDQN",
    "SubTrajectoryBalance",
    "TrainingCheckpoint",
    "TrajectoryBalance",
    "as_policy",
    "exact_metrics",
    "sampled_metrics",
]
