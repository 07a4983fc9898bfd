"""Rewards that are slow or fail: of any domain whose objects have names, as strings."""

from gfn_gym.rewards.cache import CACHE_SIZE, Cache
from gfn_gym.rewards.processes import Failure
from gfn_gym.rewards.string_reward import RewardError, StringReward

__all__ = ["CACHE_SIZE", "Cache", "Failure", "RewardError", "StringReward"]
