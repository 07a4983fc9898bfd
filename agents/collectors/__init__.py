"""Where trajectories come from: the cluster, or this process while rewards are computed."""

from .config import Collectors, LocalCollector, RayCollectors

__all__ = ["Collectors", "LocalCollector", "RayCollectors"]
