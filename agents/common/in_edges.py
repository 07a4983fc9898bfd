"""The old place of :func:`gfn_gym.edges.in_edges`."""

from gfn_gym.edges import in_edges

__all__ = ["in_edges"]
