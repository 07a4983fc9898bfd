"""Rewards that are slow or fail: of any domain whose objects have names, as strings."""

from gfn_gym.rewards.cache import CACHE_SIZE, Cache
from gfn_gym.rewards.pool import Failure
from gfn_gym.rewards.ray_workers import RayWorkers
from gfn_gym.rewards.string_reward import (
    RewardError,
    StringReward,
    slow_reward_of,
    string_rewards_of,
)

__all__ = [
    "CACHE_SIZE",
    "Cache",
    "Failure",
    "RayWorkers",
    "RewardError",
    "StringReward",
    "slow_reward_of",
    "string_rewards_of",
]
