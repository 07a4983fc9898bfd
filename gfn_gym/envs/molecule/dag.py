"""Molecules: the paper's third domain, trees of building blocks joined by single bonds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from gymnasium import spaces

from gfn_gym.arguments import whole
from gfn_gym.dag import DAG, Actions, Floats, Mask, Observation, States
from gfn_gym.edges import Edges
from gfn_gym.envs.molecule.blocks import BLOCKS
from gfn_gym.envs.molecule.canonical import LARGEST_TREE, Canonical, Canonicaliser
from gfn_gym.envs.molecule.entry_classes import EntryClasses
from gfn_gym.envs.molecule.last_batches import LastBatches
from gfn_gym.envs.molecule.rewards import SmilesReward, StateFunction, make_reward
from gfn_gym.envs.molecule.trees import Ints, Trees
from gfn_gym.envs.molecule.trees_from_blocks import read_trees
from gfn_gym.envs.molecule.vocabulary import Pair, Vocabulary, read_pairs
from gfn_gym.graph import inside


class Molecule(DAG):
    """Molecules of up to ``max_blocks`` building blocks, put together block by block.

    ## Description
    A state is a tree of blocks joined by single bonds (Bengio et al. 2021, arXiv:2106.04399;
    as a decision process Tiapkin et al. 2024, arXiv:2310.12934), up to isomorphism: whichever
    block was placed first, and however a block's own symmetries turn it, the row is the same. The
    atoms of a block that can carry a bond are its slots; a stem is a slot that is open, once or
    several times over. An action adds one block, by a bond between an open stem and the atom by
    which the block is attached; the block's other atoms become open.

    **An object is a tree.** Different trees may have one SMILES; they are different objects, and
    R/Z holds over trees. What chemists read (the best molecules, modes) merges them by SMILES.

    A row, int16 (n, N·(4 + S)) for N = ``max_blocks`` and S slots, is block (N), parent (N),
    parent's slot (N), own slot (N), open counts (N·S), see :class:`.trees.Trees`; node 0 is the
    root, and where there is no node block is the vocabulary's ``n_blocks`` and all else 0.

    ## Action Space
    ``Discrete(1 + max_stems·E)`` for E vocabulary entries. Action 0 stops; 1 + stem·E + entry adds
    the entry at that open stem, counted node by node, slot by slot, repeats one after another; the
    first block goes to stem 0. Adding is legal while there are fewer than ``max_blocks`` blocks,
    stopping from ``min_blocks`` on and wherever nothing can be added. Backward action i takes
    block i of the row off: a leaf that some action puts back exactly as it was.

    ## Observation Space
    ``Box(0, 1, (…,), float32)``: the one-hot numbers of the row; ``observation="state"`` gives
    the row as ``MultiDiscrete``, ``observation="fingerprint"`` a Morgan fingerprint of 2048 bits,
    ``Box(0, 1, (2048,), float32)``, from which our agents cannot read the state.

    ## Rewards
    Adding a block earns log P_B under the uniform backward policy: each block that can be taken
    off is as likely, and parallel actions, which give the same tree, share. Stopping earns log R.

    ## Starting State
    No block.

    ## Episode End
    The stop action terminates the episode; nothing truncates it.

    ## Arguments
    - ``blocks=None``: the vocabulary. A list of pairs ``[SMILES, [atom, …]]``, where the first
      atom is the one by which the block is attached, the others become open, and all of them do
      when it is the first block; repeats count. Or the path of a JSON file of such pairs; or
      ``"pdb105"``, the paper's 105 blocks (a download); or None for our own, see :mod:`.blocks`.
    - ``reward="qed_sa"``: or "seh", the paper's (a download; needs torch); or a
      :class:`.rewards.SmilesReward` around a function of a list of SMILES; or a function of
      states (n, d) that returns log R, shape (n,). See :mod:`.rewards`.
    - ``reward_exponent=None``: β, which multiplies log R; by default 4 for "qed_sa", 10 for
      "seh", 1 for functions.
    - ``min_blocks=2``, ``max_blocks=8``: bounds on the number of blocks, at most 24.

    ## Version History
    - v0: initial version.

    Attributes:
        vocabulary: the :class:`.vocabulary.Vocabulary`.
        min_blocks, max_blocks: see above.
        max_stems: how many open stems a tree can have to which a block can be added.
        reward: the :class:`.rewards.Reward`, a function of states (n, d) to log R, shape (n,).
    """

    render_modes: ClassVar[Sequence[str]] = ("ansi", "rgb_array")
    stop_action: int | None = 0

    def __init__(
        self,
        blocks: Sequence[Pair] | str | Path | None = None,
        reward: str | SmilesReward | StateFunction = "qed_sa",
        reward_exponent: float | None = None,
        min_blocks: int = 2,
        max_blocks: int = 8,
    ):
        self.vocabulary = Vocabulary(_pairs(blocks))
        self.max_blocks = whole("max_blocks", max_blocks, least=1)
        if self.max_blocks > LARGEST_TREE:
            raise ValueError(f"max_blocks={max_blocks!r} must be at most {LARGEST_TREE}")
        self.min_blocks = whole("min_blocks", min_blocks, least=1)
        if self.min_blocks > self.max_blocks:
            raise ValueError(f"min_blocks={min_blocks!r} exceeds max_blocks={max_blocks!r}")
        self.reward = make_reward(reward, self.vocabulary, self.max_blocks, reward_exponent)
        self.max_stems = self._count_stems()

        n_nodes, n_slots = self.max_blocks, self.vocabulary.n_slots
        sizes = [self.vocabulary.n_blocks + 1, n_nodes, n_slots, n_slots]
        opens = int(self.vocabulary.entry_first.max()) + 1
        self.state_space = spaces.MultiDiscrete(
            np.repeat([*sizes, opens], [n_nodes] * 4 + [n_nodes * n_slots]), dtype=np.int16
        )
        self.n_actions = 1 + self.max_stems * self.vocabulary.n_entries
        self.n_backward_actions = n_nodes
        self._canonical = Canonicaliser(self.vocabulary, self.max_blocks)
        self._entries = EntryClasses(self.vocabulary, self._canonical)
        self._known_symmetries = LastBatches(self.initial_states(1), 0.0)

    def arguments(self) -> dict[str, Any] | None:
        arguments = super().arguments()
        if arguments is not None and isinstance(arguments.get("blocks"), (str, Path)):
            arguments["blocks"] = self.vocabulary.pairs  # the file may be another by then
        return arguments

    def __repr__(self) -> str:
        return f"Molecule({self.vocabulary!r}, {self.min_blocks} to {self.max_blocks} blocks)"

    def _count_stems(self) -> int:
        """The most open stems of a tree that has fewer than ``max_blocks`` blocks."""
        first = int(self.vocabulary.entry_first.sum(axis=1).max())
        gain = int(self.vocabulary.entry_open.sum(axis=1).max()) - 1
        return 1 if self.max_blocks == 1 else first + (self.max_blocks - 2) * max(gain, 0)

    def trees(self, states: States) -> Trees:
        """Read states (n, d) field by field."""
        return Trees.of(states, self.max_blocks)

    def structure(self) -> tuple[Any, ...]:
        return *super().structure(), self.vocabulary.pairs

    # ---- construction -----------------------------------------------------------------------

    def initial_states(self, n: int) -> States:
        width = self.max_blocks * (4 + self.vocabulary.n_slots)
        states = np.zeros((n, width), dtype=np.int16)
        states[:, : self.max_blocks] = self.vocabulary.n_blocks
        return states

    def action_mask(self, states: States) -> Mask:
        n_blocks, n_stems = self._counts(states)
        mask = np.empty((len(states), self.n_actions), dtype=bool)
        mask[:, 0] = (n_blocks >= self.min_blocks) | (n_stems == 0)
        stems = np.arange(self.max_stems) < n_stems[:, None]
        shape = len(states), self.max_stems, self.vocabulary.n_entries
        mask[:, 1:].reshape(shape)[...] = stems[:, :, None]
        return mask

    def stems(self, states: States) -> tuple[Ints, Ints]:
        """The node and the slot of each stem that can be chosen, each int (n, max_stems).

        −1 where there is none. The empty state has one stem, whose node and slot are −1 as well;
        states with ``max_blocks`` blocks have none.
        """
        _, n_stems = self._counts(states)
        row, place = np.nonzero(states[:, 4 * self.max_blocks :])
        repeats = states[row, 4 * self.max_blocks + place]
        row, place = np.repeat(row, repeats), np.repeat(place, repeats)
        number = np.arange(len(row)) - np.searchsorted(row, row)  # of the stem in its state
        kept = number < n_stems[row]
        node = np.full((len(states), self.max_stems), -1)
        slot = node.copy()
        where = row[kept], number[kept]
        node[where], slot[where] = np.divmod(place[kept], self.vocabulary.n_slots)
        return node, slot

    def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
        done = actions == self.stop_action
        nexts, moves = states.copy(), np.flatnonzero(~done)
        if len(moves):
            grown = self._grown(states[moves], actions[moves])
            nexts[moves] = rows = self._rows(grown.trees)
            self._known_symmetries.put(rows, grown.log_symmetries)
        return nexts, done

    def _counts(self, states: States) -> tuple[Ints, Ints]:
        """How many blocks there are, and how many stems can be chosen, each (n,)."""
        n_blocks = (states[:, : self.max_blocks] < self.vocabulary.n_blocks).sum(axis=1)
        n_stems = states[:, 4 * self.max_blocks :].sum(axis=1, dtype=np.int64)
        n_stems[n_blocks == 0] = 1
        n_stems[n_blocks == self.max_blocks] = 0
        return n_blocks, n_stems

    def _grown(self, states: States, actions: Actions) -> Canonical:
        """The canonical form of states after actions that add a block as their last node."""
        stem, entry = np.divmod(actions - 1, self.vocabulary.n_entries)
        trees = self.trees(states.copy())
        rows, new = np.arange(len(states)), self._counts(states)[0]
        later = new > 0  # than the first block
        ends = np.cumsum(trees.flat_open(), axis=1)
        place = (ends <= stem[:, None]).sum(axis=1)
        node, slot = np.divmod(np.where(later, place, 0), self.vocabulary.n_slots)
        trees.open[rows, node, slot] -= later
        trees.block[rows, new] = self.vocabulary.entry_block[entry]
        trees.parent[rows, new] = node
        trees.parent_slot[rows, new] = slot
        trees.own_slot[rows, new] = self.vocabulary.entry_slot[entry]
        trees.open[rows, new] = np.where(
            later[:, None], self.vocabulary.entry_open[entry], self.vocabulary.entry_first[entry]
        )
        return self._canonical(trees, self._bonded(trees))

    def _bonded(self, trees: Trees) -> Mask:
        """Which nodes have a parent, where node 0 is the root; bool (n, N)."""
        bonded = trees.block < self.vocabulary.n_blocks
        bonded[:, 0] = False
        return np.asarray(bonded)

    def _rows(self, trees: Trees) -> States:
        return trees.rows().astype(np.int16)

    # ---- deconstruction ---------------------------------------------------------------------

    def backward_mask(self, states: States) -> Mask:
        return self._leaf_classes(states) >= 0

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        return self._rows(self._cut(states, backward_actions).trees)

    def backward_action(self, states: States, actions: Actions) -> Actions:
        new, _ = self._counts(states)
        return self._grown(states, actions).position[np.arange(len(states)), new]

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        rows, leaves = np.arange(len(states)), backward_actions
        entry = self._entries.entry[self._leaf_classes(states)[rows, leaves]]
        node, slot = self._bonds_of_leaves(states, leaves)
        parents = self._cut(states, leaves)
        slot = self._canonical.permutations[parents.symmetry[rows, node], slot]
        node = parents.position[rows, node]
        ends = np.cumsum(parents.trees.flat_open(), axis=1)
        place = node * self.vocabulary.n_slots + slot
        stem = ends[rows, place] - parents.trees.open[rows, node, slot]
        stem[self._counts(states)[0] == 1] = 0
        return 1 + stem * self.vocabulary.n_entries + entry

    def _cut(self, states: States, leaves: Ints) -> Canonical:
        """The canonical form of states (n, d) without a leaf (n,) each."""
        rows = np.arange(len(states))
        trees = self.trees(states.copy())
        node, slot = self._bonds_of_leaves(states, leaves)
        trees.open[rows, node, slot] += self._counts(states)[0] > 1
        trees.block[rows, leaves] = self.vocabulary.n_blocks
        trees.open[rows, leaves] = 0
        bonded = self._bonded(trees)
        bonded[leaves == 0] = False  # of two nodes the root was taken off
        return self._canonical(trees, bonded)

    def _bonds_of_leaves(self, states: States, leaves: Ints) -> tuple[Ints, Ints]:
        """The neighbour of each leaf (n,), and the slot of the neighbour that the bond uses."""
        trees, rows = self.trees(states), np.arange(len(states))
        at_root, second = leaves == 0, min(1, self.max_blocks - 1)
        node = np.where(at_root, second, trees.parent[rows, leaves])
        slot = np.where(at_root, trees.own_slot[:, second], trees.parent_slot[rows, leaves])
        return node, slot

    def _leaf_classes(self, states: States) -> Ints:
        """The class of entries that each node, as a leaf, could have come from; else −1 (n, N)."""
        trees = self.trees(states)
        there = trees.block < self.vocabulary.n_blocks
        n_blocks = there.sum(axis=1)
        has_children = np.zeros_like(there)
        rows, nodes = np.nonzero(self._bonded(trees))
        has_children[rows, trees.parent[rows, nodes]] = True
        has_children[n_blocks <= 2] = False
        rows, nodes = np.nonzero(there & ~has_children)
        contents = self._canonical.contents(trees.open[rows, nodes])
        # The root of two nodes is bonded by the other's parent slot.
        at_root = (nodes == 0) & (n_blocks[rows] == 2)
        second = min(1, self.max_blocks - 1)
        slot = np.where(at_root, trees.parent_slot[rows, second], trees.own_slot[rows, nodes])
        bonded = n_blocks[rows] > 1
        self._canonical.mark(contents, slot, bonded)
        classes = np.full(there.shape, -1)
        codes = self._canonical.codes_as_they_are(trees.block[rows, nodes], contents)
        classes[rows, nodes] = self._entries.find(codes)
        return classes

    # ---- edges ------------------------------------------------------------------------------

    def backward_group(self, edges: Edges) -> Mask:
        return self._group(edges, self._leaf_classes(edges.next_states))

    def _group(self, edges: Edges, classes: Ints) -> Mask:
        """The leaves of the next states, classes (n, N), without which they are the states."""
        block = self.vocabulary.entry_block[(edges.actions - 1) % self.vocabulary.n_entries]
        group = (classes >= 0) & (edges.next_states[:, : self.max_blocks] == block[:, None])
        # The only leaf of the block is the one that was added; of several, some may lead elsewhere.
        rows, leaves = np.nonzero(group & (group.sum(axis=1) > 1)[:, None])
        if len(rows):
            parents = self.backward_step(edges.next_states[rows], leaves)
            group[rows, leaves] = (parents == edges.states[rows]).all(axis=1)
        return group

    def n_parallel(self, edges: Edges) -> Actions:
        """Count the actions that give the same next state, see :meth:`log_uniform_backward`."""
        classes = self._leaf_classes(edges.next_states)
        group = self._group(edges, classes)
        weights = np.exp(self._entries.log_weight)[classes]
        ratio = self._log_symmetries(edges.states) - self._log_symmetries(edges.next_states)
        return np.rint((weights * group).sum(axis=1) * np.exp(ratio)).astype(np.int64)

    def parallel_candidates(self, states: States, actions: Actions) -> Mask:
        # The same next state has gained the same bond, so the blocks on its two sides are the same.
        block, node = self.vocabulary.entry_block, self.stems(states)[0]
        stem, entry = np.divmod(actions - 1, self.vocabulary.n_entries)
        of_stem = np.take_along_axis(states, np.maximum(node, 0), axis=1)  # [n, max_stems]
        stems = of_stem == of_stem[np.arange(len(states)), stem][:, None]
        entries = block == block[entry][:, None]
        candidates = (stems[:, :, None] & entries[:, None]).reshape(len(states), -1)
        return self.action_mask(states) & np.insert(candidates, 0, False, axis=1)

    def log_uniform_backward(self, edges: Edges) -> Floats:
        """Return log P_B of edges under the uniform backward policy in closed form, float64 (n,).

        Let W(s) be the number of symmetries of a tree whose stems, repeats of one slot included,
        are told apart: |Aut(s)|·Π (open)!. Take a class of entries, all that place one block
        attached and open in the same way up to the block's symmetries: m entries, each with w
        such symmetries of its own as a leaf. Count in two ways the pairs of a stem of s and an
        isomorphism from s, with a leaf of this class attached there, to s'. There are A·W(s') of
        them for A stems that lead to s'. And each arises from one of the leaves of s' of this
        class without which it is s, one of the W(s) isomorphisms between the two, and one of the w
        symmetries of the leaf: L·W(s)·w for L such leaves. So A = L·w·W(s)/W(s'), and m·A actions
        of the class lead from s to s'. Over all leaves u of s' without which it is s,

            n_parallel = W(s)/W(s') · Σ_u m_u·w_u,

        and with P_B(s|s') = (number of those u)/(number of leaves that can be taken off),
        log P_B(edge) = log W(s') − log W(s) − log(number of leaves) − log(mean of m_u·w_u). The
        mean needs no look at the u unless there is another leaf of the same block with another
        m·w, and then :meth:`backward_group` finds them.
        """
        states, actions, next_states = edges.states, edges.actions, edges.next_states
        classes = self._leaf_classes(next_states)
        removable = classes >= 0
        log_weights = np.where(removable, self._entries.log_weight[classes], -np.inf)
        entry = (actions - 1) % self.vocabulary.n_entries
        first = self._counts(states)[0] == 0
        own = self._entries.log_weight[self._entries.of(entry, first)]
        result = self._log_symmetries(next_states) - self._log_symmetries(states)
        result -= np.log(removable.sum(axis=1)) + own
        block = self.vocabulary.entry_block[entry]
        same = next_states[:, : self.max_blocks] == block[:, None]
        others = (removable & same & (log_weights != own[:, None])).any(axis=1)
        if others.any():
            group = self._group(edges[others], classes[others])
            total = np.logaddexp.reduce(np.where(group, log_weights[others], -np.inf), axis=1)
            result[others] += own[others] + np.log(group.sum(axis=1)) - total
        return result

    def _log_symmetries(self, states: States) -> Floats:
        known, missing = self._known_symmetries.get(states)
        if len(missing):
            trees = self.trees(states[missing])
            known[missing] = self._canonical(trees, self._bonded(trees)).log_symmetries
        return known

    # ---- reward -----------------------------------------------------------------------------

    def max_trajectory_length(self) -> int:
        """Return max_blocks + 1: every block, and the stop."""
        return self.max_blocks + 1

    def log_reward(self, states: States) -> Floats:
        return np.asarray(self.reward(states))

    def potential(self, states: States) -> Floats:
        """Return log R of trees of at least ``min_blocks`` blocks, finished or not, else 0; (n,).

        It asks for a reward at every step, of each distinct tree once while it is remembered.
        """
        n_blocks = (states[:, : self.max_blocks] < self.vocabulary.n_blocks).sum(axis=1)
        values, judged = np.zeros(len(states)), n_blocks >= self.min_blocks
        if judged.any():
            values[judged] = self.log_reward(states[judged])
        return values

    def default_invalid_reward(self) -> float:
        """Return −100, or 1 below the least log R of the named rewards where that is lower."""
        least = self.reward.least_log_reward()
        default = super().default_invalid_reward()
        return default if least is None else min(default, least - 1.0)

    def n_states(self) -> int:
        """Return how many multisets of blocks there are, a bound from below.

        Of blocks that, once attached, leave a stem for the next, any few can be joined in a chain.
        """
        goes_on = self.vocabulary.entry_open.any(axis=1)
        n = len(set(self.vocabulary.entry_block[goes_on].tolist()))
        return 1 + sum(math.comb(n + m - 1, m) for m in range(1, self.max_blocks + 1))

    # ---- what other libraries see -----------------------------------------------------------

    def other_observations(self) -> Mapping[str, Observation]:
        """``observation="fingerprint"``, see :class:`.fingerprint.Fingerprints`."""
        from gfn_gym.envs.molecule.fingerprint import Fingerprints

        fingerprints = Fingerprints(self.vocabulary, self.max_blocks)
        return {"fingerprint": Observation(fingerprints.space, fingerprints)}

    # ---- drawing ----------------------------------------------------------------------------

    def render(self, trajectory: States, mode: str) -> Any:
        """Draw the molecule growing: a line of text a step, or a panel a block."""
        if mode not in self.render_modes:
            raise ValueError(f"render mode {mode!r} is not one of {list(self.render_modes)}")
        from gfn_gym.envs.molecule.render import render_ansi, render_rgb

        draw = render_rgb if mode == "rgb_array" else render_ansi
        return draw(self.vocabulary, self.max_blocks, trajectory)

    # ---- molecules from elsewhere -----------------------------------------------------------

    def states_of_blocks(
        self,
        blocks: Sequence[Sequence[int]],
        bonds: Sequence[Sequence[Sequence[int]]],
        stems: Sequence[Sequence[Sequence[int]]],
    ) -> States:
        """Return the states of n molecules that are given block by block, (n, d).

        Args:
            blocks: of each molecule, the vocabulary entries that its blocks are.
            bonds: of each, ``[block, block, atom, atom]`` for each bond: places in its list of
                blocks, and atoms in the blocks' SMILES.
            stems: of each, ``[block, atom]`` for each open stem; repeats count.

        Raises:
            ValueError: too many blocks, bonds that do not make a tree, an atom that is not a
                slot, or more stems on one than any block has.
        """
        trees = read_trees(self.vocabulary, self.max_blocks, blocks, bonds, stems)
        rows = self._canonical(trees, self._bonded(trees)).trees.rows()
        space = cast(spaces.MultiDiscrete, self.state_space)
        for row in np.flatnonzero(~inside(space, rows)):  # before int16 wraps round
            open_counts = trees.open[row]
            node, slot = np.unravel_index(np.argmax(open_counts), open_counts.shape)
            most = int(self.vocabulary.entry_first.max())
            raise ValueError(
                f"molecule {row}: block {node} has {open_counts[node, slot]} stems on one atom, "
                f"but no block of {self.vocabulary!r} has more than {most}"
            )
        return rows.astype(np.int16)


def _pairs(blocks: Sequence[Pair] | str | Path | None) -> Sequence[Pair]:
    if blocks is None:
        return BLOCKS
    if isinstance(blocks, str) and blocks == "pdb105":
        from gfn_gym.envs.molecule.downloads import pdb105

        return read_pairs(pdb105())
    if isinstance(blocks, (str, Path)):
        return read_pairs(blocks)
    if isinstance(blocks, Mapping) or not isinstance(blocks, Iterable):
        raise TypeError(
            f"blocks={blocks!r} must be a list of pairs [SMILES, [atom, …]], the path of a JSON "
            "file, 'pdb105', or None for our own"
        )
    return blocks
