"""Sets of nodes as bits of an int64, and what is reached in a graph; all batched."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import Floats, Mask

Bits = NDArray[np.int64]
"""Sets of nodes: bit i is node i."""
Adjacency = NDArray[np.bool_]
"""(n, d, d): ``[:, i, j]`` tells the edge i → j."""

LARGEST = 52  # nodes; sets are packed by a product in float64, which is exact below 2^53


def pack(sets: NDArray[np.bool_]) -> Bits:
    """Turn sets, bool (…, d), into bits, int64 (…)."""
    return np.asarray(sets.astype(np.float64) @ _places(sets.shape[-1])).astype(np.int64)


def parent_sets(adjacency: Adjacency) -> Bits:
    """Return the parents of every node, int64 (n, d), of graphs (n, d, d)."""
    # A product is several times as fast as packing bits across rows.
    return np.asarray(_places(adjacency.shape[1]) @ adjacency.astype(np.float64)).astype(np.int64)


def unpack(bits: Bits, d: int) -> NDArray[np.bool_]:
    """Turn bits, int64 (…), into sets, bool (…, d)."""
    octets = np.ascontiguousarray(bits, dtype="<i8")[..., None].view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=d, bitorder="little").view(bool)


def ancestors(parents: Bits) -> Bits:
    """Return every node's ancestors from its parents: (n, d) → (n, d).

    Warshall's algorithm with one set a node. A node on a cycle is among its own ancestors.
    """
    reach = parents.copy()
    for k in range(parents.shape[1]):
        through = -((reach >> k) & 1)  # all bits where k is among the ancestors, else none
        reach |= through & reach[:, k, None]
    return reach


def acyclic(adjacency: Adjacency) -> Mask:
    """Return which graphs (n, d, d) have no cycle, bool (n,)."""
    own = 1 << np.arange(adjacency.shape[1])
    return np.asarray(~(ancestors(parent_sets(adjacency)) & own).any(axis=1))


def _places(d: int) -> Floats:
    return (1 << np.arange(d)).astype(np.float64)
