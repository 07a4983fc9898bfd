"""Stable-Baselines3 algorithms for GFN Gym; imported as ``gfn_gym.agents``."""
