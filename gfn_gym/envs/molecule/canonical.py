"""One row for each block tree: the canonical form, and the symmetries that it comes across."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.envs.molecule.trees import Ints, Trees
from gfn_gym.envs.molecule.vocabulary import Vocabulary
from gfn_gym.ragged import ragged_ranges

Codes = NDArray[np.uint64]
Floats = NDArray[np.float64]

LARGEST_TREE = 24  # so that the paths from the root fit into 64 bits


@dataclass(slots=True)
class Canonical:
    """The canonical form of n trees of up to N nodes, and how the given ones map onto it.

    Attributes:
        trees: the canonical ones.
        position: (n, N), where each node went.
        symmetry: (n, N), which of ``Canonicaliser.permutations`` its slots went through.
        log_symmetries: float64 (n,), log of the number of symmetries of each tree, open stems of
            one slot counted as different: |Aut|·Π (open)!.
    """

    trees: Trees
    position: Ints
    symmetry: Ints
    log_symmetries: Floats


class Canonicaliser:
    """Brings block trees into canonical form: isomorphic trees get the same row, and only they.

    An isomorphism of trees maps nodes to nodes and, in each node, slots to slots by a symmetry of
    its block, so that blocks, open counts and bonds agree. The form is that of Aho, Hopcroft and
    Ullman (The Design and Analysis of Computer Algorithms, 1974, §3.2) with those symmetries:

    1. Leaves are peeled off, round by round, towards the tree's centre: a node, or two joined by a
       bond. A node's *code* is a number for its subtree, away from the centre: the least, over its
       block's symmetries, of a mixture of what its slots carry. That is the open count, a mark at
       the bond towards the centre, and the sum of the codes of the children there.
    2. The root is the centre; of two, the half with the smaller code.
    3. Slots are renamed by the least symmetry, and nodes follow level by level, ordered by their
       parent, its slot, and their code.

    Ties are isomorphic subtrees, so that breaking them either way gives the same row. Codes are
    64-bit hashes with fixed constants, so rows are the same in every process. They only decide the
    order: a row spells out its tree, so two objects never share one. A collision (some 2^-64 a
    pair) could give one object two rows.

    Args:
        vocabulary: the blocks.
        max_blocks: N, at most 24.

    Attributes:
        permutations: int (G, S), all symmetries of all blocks, block by block; slot i goes to
            ``permutations[g, i]``. The last one is the identity, for places without a node.
        inverses: int (G, S), their inverses.
    """

    def __init__(self, vocabulary: Vocabulary, max_blocks: int):
        self.max_blocks = max_blocks
        self.none = vocabulary.n_blocks
        identity = np.arange(vocabulary.n_slots)[None]
        groups = [*vocabulary.symmetries, identity]
        self.permutations = np.concatenate(groups)
        self.inverses = np.argsort(self.permutations, axis=1)
        self._n_symmetries = np.array([len(group) for group in groups])
        self._first_symmetry = np.cumsum(self._n_symmetries) - self._n_symmetries
        constants = mix(np.arange(1, 3 + vocabulary.n_slots + self.none + 1, dtype=np.uint64)) | 1
        self._open, self._bond = constants[:2]
        self._weights = constants[2 : 2 + vocabulary.n_slots][self.permutations]
        self._block_codes = constants[2 + vocabulary.n_slots :]

    def contents(self, open: Ints) -> Codes:
        """What the slots of nodes without bonds carry: open counts (…, S) → (…, S)."""
        return open.astype(np.uint64) * self._open

    def codes(self, block: Ints, contents: Codes) -> tuple[Codes, Ints, Ints]:
        """The codes of m nodes, the symmetry that gives each, and how many symmetries give it.

        Args:
            block: (m,).
            contents: (m, S), of the slots, the mark of the bond among them.
        """
        counts = self._n_symmetries[block]
        # All symmetries of all nodes, K in all: the node of each, (K,), and which it is, (K,).
        nodes, candidates = ragged_ranges(self._first_symmetry[block], counts)
        # Slot i moves to σ(i), so it is weighted by the constant of that place.
        sums = np.einsum("ks,ks->k", contents[nodes], self._weights[candidates])
        starts = np.cumsum(counts) - counts  # of each node's symmetries among the K
        least = np.minimum.reduceat(sums, starts)
        attained = sums == least[nodes]
        ties = np.add.reduceat(attained.astype(np.int64), starts)
        first = np.flatnonzero(attained)[np.cumsum(ties) - ties]
        return mix(least + self._block_codes[block]), candidates[first], ties

    def codes_as_they_are(self, block: Ints, contents: Codes) -> Codes:
        """The codes of m nodes whose slots have their canonical order already."""
        sums = np.einsum("ms,ms->m", contents, self._weights[self._first_symmetry[block]])
        return mix(sums + self._block_codes[block])

    def mark(self, contents: Codes, slots: Ints, bonded: Any = True) -> None:
        """Mark the slots (m,) of m nodes, those ``bonded``, as carrying the bond to the centre."""
        contents[np.arange(len(slots)), slots] += self._bond * np.asarray(bonded, np.uint64)

    def __call__(self, trees: Trees, bonded: NDArray[np.bool_]) -> Canonical:
        """Canonical forms of trees whose nodes may stand in any order, holes between them.

        Args:
            trees: n trees of N places; ``parent``, ``parent_slot`` and ``own_slot`` are read only
                where ``bonded``.
            bonded: bool (n, N), which nodes have a parent: all that are there, but one.
        """
        rooted = _Rooted(self, trees, bonded)
        rooted.peel()
        rooted.choose_roots()
        return _arranged(self, rooted)


class _Rooted:
    """n trees of up to N nodes that are being rooted at their centres: :meth:`peel`, then
    :meth:`choose_roots`.

    All arrays are flat: node j of tree i is at place i·N + j, of n·N places, so that leaves of
    all trees are peeled off together. Neighbours and heads are such places too.

    Peeling needs no list of neighbours. Of each node it keeps how many of its neighbours are left
    and the sum of their places; when one is left, the node is a leaf and the sum is that one.

    Attributes:
        there: bool (n·N,), whether there is a node.
        block, open: of the nodes, (n·N,) and (n·N, S).
        head: the parent towards the centre; −1 where none, or none yet.
        own, at: the slots of the bond to it: the node's own, and the head's.
        code, symmetry, ties: see ``Canonicaliser.codes``.
        log_mirrored: float64 (n,), log 2 for two centres with isomorphic halves, else 0.
        n_levels: the most steps that lead from a node to the root.
    """

    def __init__(self, canonicaliser: Canonicaliser, trees: Trees, bonded: NDArray[np.bool_]):
        self.canonicaliser = canonicaliser
        self.n, self.width = trees.block.shape
        size = self.n * self.width
        self.block = trees.block.reshape(-1).astype(np.int64)
        self.open = trees.open.reshape(size, trees.open.shape[2])
        self.there = self.block != canonicaliser.none
        # Of all bonds, as places: (number of bonds,)
        child = np.flatnonzero(bonded)
        parent = child - child % self.width + trees.parent.reshape(-1)[child]
        self._parent = np.full(size, -1)
        self._parent[child] = parent
        self._lower, self._upper = trees.own_slot.reshape(-1), trees.parent_slot.reshape(-1)
        # Of the neighbours that are left: how many, and the sum of their places, (n·N,) each.
        self._degree = _counts(child, size) + _counts(parent, size)
        self._neighbours = _sums(child, parent, size) + _sums(parent, child, size)

        self.head = np.full(size, -1)
        self.own, self.at = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self.code = np.zeros(size, dtype=np.uint64)
        self.symmetry = np.full(size, len(canonicaliser.permutations) - 1)
        self.ties = np.ones(size, dtype=np.int64)
        self.log_mirrored = np.zeros(self.n)
        self.n_levels = 1
        self._contents = canonicaliser.contents(self.open)

    def peel(self) -> None:
        """Take all leaves off at once, again and again, until one node is left, or none."""
        size, n_slots = self._contents.shape
        while len(leaves := np.flatnonzero(self._degree == 1)):  # (m,) places
            heads = self._neighbours[leaves]  # (m,): the only neighbour left of each
            own, at = self._slots_of_bonds(leaves, heads)
            self.head[leaves], self.own[leaves], self.at[leaves] = heads, own, at
            contents = self._contents[leaves]  # (m, S)
            self.canonicaliser.mark(contents, own)
            self._encode(leaves, contents)
            # The slot of the head that the leaf hangs on carries the leaf's code from now on.
            np.add.at(self._contents.reshape(-1), heads * n_slots + at, self.code[leaves])
            self._degree[leaves] = 0
            self._degree -= _counts(heads, size)
            self._neighbours -= _sums(heads, leaves, size)
            self.n_levels += 1

    def _slots_of_bonds(self, leaves: Ints, heads: Ints) -> tuple[Ints, Ints]:
        """The slots that join leaves (m,) to heads (m,): the leaves' own, and the heads'.

        In the given tree a bond is stored with its lower node, which may be either of the two.
        """
        upward = self._parent[leaves] == heads  # the leaf is the lower one
        stored = np.where(upward, leaves, heads)
        lower, upper = self._lower[stored], self._upper[stored]
        return np.where(upward, lower, upper), np.where(upward, upper, lower)

    def choose_roots(self) -> None:
        """Root each tree at its centre, or at the one of two centres with the smaller code.

        A single centre was never peeled, and has no code yet. Two were leaves in the last round
        and peeled each other, so that each is the other's head.
        """
        centres = np.flatnonzero(self.there & (self.head < 0))
        if len(centres):
            self._encode(centres, self._contents[centres])
        places = np.arange(len(self.head))
        left = np.flatnonzero((self.head[self.head] == places) & (places < self.head))
        right = self.head[left]
        self.head[np.where(self.code[left] <= self.code[right], left, right)] = -1
        self.log_mirrored[left // self.width] = np.log(
            np.where(self.code[left] == self.code[right], 2, 1)
        )

    def _encode(self, nodes: Ints, contents: Codes) -> None:
        codes = self.canonicaliser.codes(self.block[nodes], contents)
        self.code[nodes], self.symmetry[nodes], self.ties[nodes] = codes


def _arranged(canonicaliser: Canonicaliser, rooted: _Rooted) -> Canonical:
    """Put the nodes in order and rename their slots."""
    n, width, n_slots = rooted.n, rooted.width, rooted.open.shape[1]
    head, symmetry = rooted.head, rooted.symmetry
    # Renamed slots of the bond to the head, (n·N,); 0 for roots and where there is no node.
    hangs = head >= 0
    parent_slot = np.where(hangs, canonicaliser.permutations[symmetry[head], rooted.at], 0)
    own_slot = np.where(hangs, canonicaliser.permutations[symmetry, rooted.own], 0)

    rank, log_twins = _among_siblings(rooted, parent_slot)
    # The node at each new place, as an old place, (n·N,); and the new place of each in its tree.
    source = _in_order(rooted, rank)
    position = np.empty_like(source)
    position[source] = np.arange(n * width) % width

    # For each new place the flat indices of its slots' open counts, (n·N, S).
    opened = source[:, None] * n_slots + canonicaliser.inverses[symmetry[source]]
    trees = Trees(
        block=rooted.block[source].reshape(n, width),
        parent=np.where(hangs, position[head], 0)[source].reshape(n, width),
        parent_slot=parent_slot[source].reshape(n, width),
        own_slot=own_slot[source].reshape(n, width),
        open=rooted.open.reshape(-1)[opened].reshape(n, width, n_slots),
    )
    # A symmetry of the tree: of each block one that its code allows, open stems of a slot in any
    # order, isomorphic siblings in any order, and perhaps the two halves exchanged.
    log_symmetries = (
        _sum_of_logs(rooted.ties.reshape(n, width))
        + log_factorials(trees.flat_open())
        + log_twins
        + rooted.log_mirrored
    )
    return Canonical(trees, position.reshape(n, width), symmetry.reshape(n, width), log_symmetries)


def _in_order(rooted: _Rooted, rank: Ints) -> Ints:
    """The places of all nodes, level by level from the root, siblings by rank, (n·N,).

    A node is sorted by its path from the root, written as a number: 1 for the root, and then, in
    base N, the rank among its siblings at each level. Longer paths are larger numbers, and those
    of one length are in the order of their parents. Places without a node come last.
    """
    n, width = rooted.n, rooted.width
    path = np.where(rooted.there, 1, np.iinfo(np.int64).max)
    below = np.flatnonzero(rooted.head >= 0)  # all nodes but the roots
    above, digit = rooted.head[below], rank[below]
    # After round k the paths of all nodes down to level k are right.
    for _ in range(rooted.n_levels):
        path[below] = path[above] * width + digit
    order = np.argsort(path.reshape(n, width), axis=1, kind="stable")
    return np.asarray((order + np.arange(0, n * width, width)[:, None]).reshape(-1))


def _among_siblings(rooted: _Rooted, parent_slot: Ints) -> tuple[Ints, Floats]:
    """The rank of each node among its siblings, and log Π m! over m isomorphic siblings (n,).

    Siblings are ordered by the slot of the parent that they hang on (renamed, ``parent_slot``
    (n·N,)), and by their codes; those that agree in both are isomorphic.
    """
    n, width, n_slots = rooted.n, rooted.width, rooted.open.shape[1]
    # One number to sort by, (n, N): parent and slot in the upper bits, the code in the others.
    upper = (rooted.head % width * n_slots + parent_slot).astype(np.uint64)
    n_bits = np.uint64((width * n_slots).bit_length())  # that parent and slot need
    key = (upper << (np.uint64(64) - n_bits)) | (rooted.code >> n_bits)
    key = np.where(rooted.head >= 0, key, np.iinfo(np.uint64).max).reshape(n, width)
    order = np.argsort(key, axis=1, kind="stable")
    keys = np.take_along_axis(key, order, axis=1)
    parents = np.take_along_axis(rooted.head.reshape(n, width), order, axis=1)

    # Siblings are runs of one parent now; the rank is how far a node is from the run's first.
    place = np.broadcast_to(np.arange(width), (n, width))
    first = np.ones((n, width), dtype=bool)
    first[:, 1:] = parents[:, 1:] != parents[:, :-1]
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, place - _last_true(first), axis=1)
    # Isomorphic siblings are runs of one key; numbered 1, 2, … m, their product is m!. Roots and
    # places without a node are nobody's twins.
    first[:, 1:] = (keys[:, 1:] != keys[:, :-1]) | (parents[:, 1:] < 0)
    return rank.reshape(-1), _sum_of_logs(1 + place - _last_true(first))


def _counts(places: Ints, size: int) -> Ints:
    return np.bincount(places, minlength=size)


def _sums(places: Ints, numbers: Ints, size: int) -> Ints:
    """The sum of the numbers at each place; exact below 2^53."""
    return np.bincount(places, numbers, size).astype(np.int64)


def _last_true(flags: NDArray[np.bool_]) -> Ints:
    """For each place of a row the last place up to it where the flag (n, N) is set; else 0."""
    place = np.where(flags, np.arange(flags.shape[1]), 0)
    return np.asarray(np.maximum.accumulate(place, axis=1))


def log_factorials(numbers: Ints) -> Floats:
    """Σ log m! over each row of (n, w), float64 (n,)."""
    row, column = np.nonzero(numbers > 1)
    some = numbers[row, column]
    table = np.cumsum(np.log(np.maximum(np.arange(int(some.max(initial=0)) + 1), 1)))
    return np.asarray(np.bincount(row, table[some], len(numbers)), np.float64)


def _sum_of_logs(numbers: Ints) -> Floats:
    """Σ log m over each row of (n, w), most of them 1."""
    row, column = np.nonzero(numbers > 1)
    logs = np.log(numbers[row, column])
    return np.asarray(np.bincount(row, logs, len(numbers)), np.float64)


def mix(x: Codes) -> Codes:
    """Scatter 64-bit numbers: the finalising steps of SplitMix64 (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
