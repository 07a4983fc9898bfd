"""Where SmilesReward was first; it lies in :mod:`gfn_gym.envs.molecule.rewards`."""

from gfn_gym.envs.molecule.rewards import SmilesReward
from gfn_gym.rewards import RewardError

__all__ = ["RewardError", "SmilesReward"]
