"""Molecules: canonical rows against a slow canonical form, P_B against counting, vocabularies."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from rdkit import Chem

from block_sets import BLOCK_SETS, tilted
from gfn_gym import DAG, check_dag
from gfn_gym.edges import Edges
from gfn_gym.envs.molecule.blocks import BLOCKS, FRAGMENTS
from gfn_gym.envs.molecule.canonical import Canonicaliser
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.envs.molecule.vocabulary import Vocabulary
from gfn_gym.graph import enumerate_graph
from gfn_gym.mdp import MDP, sample_legal_actions
from seh_data import FOLDER, needs_data, read

PAPERS = (FOLDER or Path()) / "blocks_PDB_105.json"
SYMMETRIC = [
    ["c1ccccc1", [0, 1, 2, 3, 4, 5]],
    ["C1CC1", [0, 1, 2]],
    ["CO", [0, 1]],
    ["CO", [1, 0, 0, 0]],
    ["c1ccc2ccccc2c1", [0, 5]],
]
VOCABULARIES = {
    "ours": None,
    "symmetric": SYMMETRIC,
    **BLOCK_SETS,
    "paper's": pytest.param(PAPERS, marks=needs_data),
}
vocabularies = pytest.mark.parametrize(
    "blocks",
    [value if hasattr(value, "marks") else pytest.param(value) for value in VOCABULARIES.values()],
    ids=VOCABULARIES,
)


def molecules(blocks, **kwargs):
    return Molecule(blocks, tilted, **kwargs)


def random_walks(dag, n, generator):
    """Edges of n random walks: states, actions, next states; each once."""
    states, parts = dag.initial_states(n), []
    while len(states):
        actions = sample_legal_actions(dag.action_mask(states), generator)
        moves = actions != 0
        nexts, _ = dag.step(states[moves], actions[moves])
        parts.append((states[moves], actions[moves], nexts))
        states = nexts
    return (np.concatenate(column) for column in zip(*parts, strict=True))


# ---- a slow canonical form, and other ways to write a tree ------------------------------------


@dataclass
class Tree:
    """A block tree in plain lists: blocks, open slots with repeats, bonds (node, slot, …)."""

    blocks: list[int] = field(default_factory=list)
    open: list[list[int]] = field(default_factory=list)
    bonds: list[tuple[int, int, int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, dag, state):
        trees, tree = dag.trees(state[None]), cls()
        for node in np.flatnonzero(trees.block[0] < dag.vocabulary.n_blocks):
            tree.blocks.append(int(trees.block[0, node]))
            counts = enumerate(trees.open[0, node].tolist())
            tree.open.append([slot for slot, count in counts for _ in range(count)])
            if node:
                ends = (trees.parent_slot[0, node], trees.own_slot[0, node])
                tree.bonds.append((int(trees.parent[0, node]), int(node), *map(int, ends)))
        return tree

    def form(self, vocabulary):
        """A string that isomorphic trees share and others don't."""
        return min(self._form(vocabulary, node, None) for node in range(len(self.blocks)))

    def _form(self, vocabulary, node, parent):
        ends = [(a, i, b, j) for a, b, i, j in self.bonds] + [
            (b, j, a, i) for a, b, i, j in self.bonds
        ]
        below = [
            (slot, "^" if other == parent else self._form(vocabulary, other, node))
            for here, slot, other, _ in ends
            if here == node
        ]
        ways = []
        for symmetry in vocabulary.symmetries[self.blocks[node]]:
            opened = sorted(int(symmetry[slot]) for slot in self.open[node])
            ways.append(str((opened, sorted((int(symmetry[slot]), sub) for slot, sub in below))))
        return f"({self.blocks[node]} {min(ways)})"

    def scrambled(self, vocabulary, generator):
        """The same tree with its nodes renamed and its blocks turned."""
        new = generator.permutation(len(self.blocks)).tolist()
        turn = [generator.choice(vocabulary.symmetries[block]).tolist() for block in self.blocks]
        tree = Tree([0] * len(new), [[] for _ in new], [])
        for node, block in enumerate(self.blocks):
            tree.blocks[new[node]] = block
            tree.open[new[node]] = [turn[node][slot] for slot in self.open[node]]
        for a, b, i, j in self.bonds:
            ends = (new[a], turn[a][i]), (new[b], turn[b][j])
            (a, i), (b, j) = ends if generator.random() < 0.5 else ends[::-1]
            tree.bonds.append((a, b, i, j))
        generator.shuffle(tree.bonds)
        return tree

    def state(self, dag):
        vocabulary = dag.vocabulary
        atoms, entries = vocabulary.slot_atoms, vocabulary.entry_block.tolist()
        blocks = [entries.index(block) for block in self.blocks]
        bonds = [
            (a, b, atoms[self.blocks[a], i], atoms[self.blocks[b], j]) for a, b, i, j in self.bonds
        ]
        stems = [
            (node, atoms[self.blocks[node], slot])
            for node, slots in enumerate(self.open)
            for slot in slots
        ]
        return dag.states_of_blocks([blocks], [bonds], [stems])[0]


@vocabularies
def test_rows_are_the_same_however_a_tree_is_written(blocks):
    dag, generator = molecules(blocks), np.random.default_rng(1)
    _, _, states = random_walks(dag, 12, generator)
    for state in states:
        tree = Tree.of(dag, state)
        assert state.tolist() == tree.state(dag).tolist()
        for _ in range(3):
            again = tree.scrambled(dag.vocabulary, generator)
            assert again.form(dag.vocabulary) == tree.form(dag.vocabulary)
            assert again.state(dag).tolist() == state.tolist()


@pytest.mark.parametrize("blocks", [*BLOCK_SETS.values(), SYMMETRIC[:3]], ids=[*BLOCK_SETS, "sym"])
def test_there_are_as_many_states_as_trees(blocks):
    dag = molecules(blocks, max_blocks=4 if len(blocks) < 3 else 3)
    states = enumerate_graph(dag).states
    forms = {Tree.of(dag, state).form(dag.vocabulary) for state in states[1:]}
    assert len(forms) == len(states) - 1 > 3


def test_rows_do_not_change_from_version_to_version():
    """Stored objects, models and replay buffers hold rows."""
    dag = molecules([["CO", [0, 0, 1]], ["c1ccccc1", [0, 2]]], max_blocks=4)
    stems = [[1, 0], [2, 2]]
    state = dag.states_of_blocks([[1, 0, 1]], [[[0, 1, 2, 1], [1, 2, 0, 0]]], [stems])[0]
    assert state.dtype == np.int16
    block, parent, parent_slot, own_slot = [[0, 1, 1, 2], [0, 0, 0, 0], [0, 0, 1, 0], [0, 2, 2, 0]]
    assert state[:16].tolist() == [*block, *parent, *parent_slot, *own_slot]
    assert state[16:].reshape(4, 6).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


# ---- edges ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLOCK_SETS)
def test_contract(name):
    check_dag(molecules(BLOCK_SETS[name], max_blocks=4 if len(BLOCK_SETS[name]) < 3 else 3))


@pytest.mark.parametrize(("min_blocks", "max_blocks"), [(1, 1), (1, 2), (2, 2), (3, 3)])
def test_contract_of_few_blocks(min_blocks, max_blocks):
    check_dag(molecules(BLOCK_SETS["ends"], min_blocks=min_blocks, max_blocks=max_blocks))


@vocabularies
def test_backward_probability_by_counting(blocks):
    """Against trying every backward action of the next state, and every action of some states."""
    dag, generator = molecules(blocks), np.random.default_rng(2)
    states, actions, children = random_walks(dag, 40, generator)
    rows, undo = np.nonzero(dag.backward_mask(children))
    back = dag.backward_step(children[rows], undo)
    edges = Edges(states, actions, children)
    group = dag.backward_group(edges)
    assert group[rows, undo].tolist() == (back == states[rows]).all(axis=1).tolist()
    assert group.sum() == group[rows, undo].sum() >= len(states)
    redo = dag.forward_action(children[rows], undo)
    assert dag.action_mask(back)[np.arange(len(back)), redo].all()
    assert np.array_equal(dag.step(back, redo)[0], children[rows])
    counted = DAG.log_uniform_backward(dag, edges)
    assert dag.log_uniform_backward(edges) == pytest.approx(counted, abs=1e-12)
    for row in generator.permutation(len(states))[:15]:
        legal = np.flatnonzero(dag.action_mask(states[row : row + 1])[0])
        legal = legal[legal != dag.stop_action]
        tried, _ = dag.step(np.repeat(states[row : row + 1], len(legal), axis=0), legal)
        parallel = (tried == children[row]).all(axis=1).sum()
        assert dag.n_parallel(edges[row : row + 1]) == [parallel]


@pytest.fixture
def canonicalised(monkeypatch):
    """How many rows were brought into canonical form, call by call."""
    calls, canonicalise = [], Canonicaliser.__call__

    def counting(self, trees, bonded):
        calls.append(len(trees.block))
        return canonicalise(self, trees, bonded)

    monkeypatch.setattr(Canonicaliser, "__call__", counting)
    return calls


def test_an_edge_is_canonicalised_once_under_a_backward_policy(canonicalised):
    """What is a step's next state, and how symmetric, is known when P_B asks."""
    dag = molecules([["CO", [0, 1]], ["CN", [0, 1]], ["CC", [0, 0]], ["CCC", [0, 2]]], max_blocks=3)
    mdp = MDP(dag, MDP(dag).backward_log_probs)
    states, generator = dag.initial_states(50), np.random.default_rng(0)
    for _ in range(2):
        del canonicalised[:]
        legal = dag.action_mask(states)
        legal[:, dag.stop_action] = False
        actions = sample_legal_actions(legal, generator)
        transition = mdp.step(states, actions)
        # Of two blocks alike, each must be taken off to see where that leads: once for the group,
        # once for the parallel edges.
        blocks = dag.trees(transition.next_states).block
        rows, leaves = np.nonzero(dag.backward_mask(transition.next_states))
        added = dag.vocabulary.entry_block[(actions - 1) % dag.vocabulary.n_entries]
        alike = np.bincount(rows[blocks[rows, leaves] == added[rows]], minlength=50)
        assert sum(canonicalised) == 50 + 2 * alike[alike > 1].sum()
        assert alike.max() <= 2
        expected = MDP(dag).log_backward(states, actions)
        np.testing.assert_allclose(transition.log_backward, expected, atol=1e-12)
        states = transition.next_states


@vocabularies
def test_stems_say_where_an_action_adds(blocks):
    dag, generator = molecules(blocks), np.random.default_rng(3)
    states, actions, children = random_walks(dag, 10, generator)
    nodes, slots = dag.stems(states)
    assert nodes.shape == slots.shape == (len(states), dag.max_stems)
    n_stems = dag.action_mask(states)[:, 1 :: dag.vocabulary.n_entries].sum(axis=1)
    empty = (states == dag.initial_states(1)).all(axis=1)
    assert (nodes[empty] == -1).all() and (n_stems[empty] == 1).all()
    assert np.array_equal((nodes >= 0).sum(axis=1)[~empty], n_stems[~empty])
    assert np.array_equal(nodes >= 0, slots >= 0)
    for row in np.flatnonzero(~empty):
        stem, entry = divmod(int(actions[row]) - 1, dag.vocabulary.n_entries)
        node, slot = int(nodes[row, stem]), int(slots[row, stem])
        tree = Tree.of(dag, states[row])
        tree.open[node].remove(slot)
        tree.bonds.append((node, len(tree.blocks), slot, int(dag.vocabulary.entry_slot[entry])))
        tree.blocks.append(int(dag.vocabulary.entry_block[entry]))
        counts = enumerate(dag.vocabulary.entry_open[entry].tolist())
        tree.open.append([slot for slot, count in counts for _ in range(count)])
        assert tree.state(dag).tolist() == children[row].tolist()


def test_full_and_closed_trees_can_only_stop():
    dag = molecules(BLOCK_SETS["ends"], min_blocks=3, max_blocks=4)
    states = enumerate_graph(dag).states
    n_blocks = (dag.trees(states).block < dag.vocabulary.n_blocks).sum(axis=1)
    n_open = dag.trees(states).open.sum(axis=(1, 2))
    mask = dag.action_mask(states)
    grows = (n_blocks == 0) | ((n_blocks < 4) & (n_open > 0))
    assert mask[:, 1:].any(axis=1).tolist() == grows.tolist()
    assert mask[:, 0].tolist() == ((n_blocks >= 3) | ~grows).tolist()
    assert ((n_blocks == 2) & ~grows).any(), "nothing open below min_blocks: F–F"
    assert dag.stems(states[n_blocks == 4])[0].max() == -1


def test_nothing_comes_of_no_states():
    dag = molecules(SYMMETRIC)
    states, none = dag.initial_states(0), np.zeros(0, dtype=np.int64)
    edges = Edges(states, none, states)
    assert dag.action_mask(states).shape == (0, dag.n_actions)
    assert dag.backward_mask(states).shape == dag.backward_group(edges).shape == (0, 8)
    assert dag.step(states, none)[0].shape == dag.backward_step(states, none).shape == states.shape
    for numbers in (
        dag.backward_action(states, none),
        dag.forward_action(states, none),
        dag.n_parallel(edges),
        dag.log_uniform_backward(edges),
    ):
        assert numbers.shape == (0,)
    assert dag.states_of_blocks([], [], []).shape == states.shape


# ---- vocabularies -----------------------------------------------------------------------------


def assembled(dag, state):
    """The RDKit molecule of a state, sanitised, put together bond by bond."""
    tree, molecule, starts = Tree.of(dag, state), Chem.RWMol(), []
    for block in tree.blocks:
        starts.append(molecule.GetNumAtoms())
        molecule.InsertMol(Chem.MolFromSmiles(dag.vocabulary.smiles[block]))
    for a, b, i, j in tree.bonds:
        atoms = dag.vocabulary.slot_atoms
        ends = [
            starts[node] + int(atoms[tree.blocks[node], slot]) for node, slot in ((a, i), (b, j))
        ]
        molecule.AddBond(*ends, Chem.BondType.SINGLE)
    Chem.SanitizeMol(molecule)
    return molecule


def test_our_blocks_have_room_for_their_bonds():
    assert len({Chem.CanonSmiles(smiles) for smiles, _, _ in FRAGMENTS}) == len(FRAGMENTS) >= 70
    for smiles, atoms, _ in FRAGMENTS:
        molecule = Chem.MolFromSmiles(smiles)
        for atom in atoms:
            hydrogens = molecule.GetAtomWithIdx(atom)
            assert hydrogens.GetNumImplicitHs() >= atoms.count(atom), smiles


def test_our_blocks_are_attached_once_in_each_way():
    dag = molecules(None, max_blocks=2)
    states = np.repeat(dag.initial_states(1), dag.vocabulary.n_entries, axis=0)
    first, _ = dag.step(states, 1 + np.arange(len(states)))
    assert len(np.unique(first, axis=0)) == len(FRAGMENTS)
    # A fluorine with each entry attached: all differ, and each open atom has an entry.
    fluorine = np.repeat(first[:1], dag.vocabulary.n_entries, axis=0)
    second, _ = dag.step(fluorine, 1 + np.arange(len(fluorine)))
    assert len(np.unique(second, axis=0)) == len(BLOCKS)
    assert (dag.backward_mask(second).sum(axis=1) == 2).all()


def test_random_molecules_of_our_blocks_are_valid():
    dag = molecules(None)
    _, _, states = random_walks(dag, 100, np.random.default_rng(4))
    smiles = {Chem.MolToSmiles(assembled(dag, state)) for state in states}
    assert len(smiles) > 300 and not any("." in molecule for molecule in smiles)


def test_a_nitrogen_is_no_image_of_an_nh():
    """A substructure match would turn imidazole around, and pyrazole."""
    for smiles in ("c1cnc[nH]1", "c1cn[nH]c1", "c1c[nH]nn1"):
        assert len(Vocabulary([[smiles, [0, 1]]]).symmetries[0]) == 1
    assert len(Vocabulary([["C[NH2+]C", [0]]]).symmetries[0]) == 2


@needs_data
def test_the_papers_blocks():
    dag = molecules(PAPERS)
    assert (dag.vocabulary.n_entries, dag.vocabulary.n_blocks) == (105, 72)
    assert (dag.max_stems, dag.n_actions) == (30, 3151)


@needs_data
def test_the_papers_test_molecules_can_be_built():
    dag, generator = molecules(PAPERS), np.random.default_rng(5)
    given = read("test_mols.json")["mols"]
    states = dag.states_of_blocks(
        *([molecule[key] for molecule in given] for key in ("blocks", "bonds", "stems"))
    )
    distinct = {
        row.tobytes(): molecule["smiles"] for row, molecule in zip(states, given, strict=True)
    }
    assert len(distinct) == len({molecule["smiles"] for molecule in given}) == 891
    for _ in range(dag.max_blocks):
        left = (states != dag.initial_states(1)).any(axis=1)
        undo = sample_legal_actions(dag.backward_mask(states[left]), generator)
        states[left] = dag.backward_step(states[left], undo)
    assert (states == dag.initial_states(1)).all()


def test_blocks_from_a_file(tmp_path):
    pairs, maps = tmp_path / "pairs.json", tmp_path / "maps.json"
    pairs.write_text(json.dumps(SYMMETRIC))
    keys = [str(i) for i in range(len(SYMMETRIC))]
    maps.write_text(
        json.dumps(
            {
                "block_smi": {key: SYMMETRIC[int(key)][0] for key in keys},
                "block_r": {key: SYMMETRIC[int(key)][1] for key in keys},
            }
        )
    )
    given = molecules(SYMMETRIC).vocabulary
    assert molecules(pairs).vocabulary.pairs == given.pairs
    assert molecules(str(maps)).vocabulary.pairs == given.pairs
    maps.write_text('{"block_smi": {}}')
    with pytest.raises(ValueError, match=r"has no \['block_r'\]"):
        molecules(maps)
    maps.write_text('{"block_smi": {"0": "CO", "1": "C"}, "block_r": {"0": [0]}}')
    with pytest.raises(ValueError, match="must map the same numbers"):
        molecules(maps)
    maps.write_text("[[")
    with pytest.raises(ValueError, match=r"maps\.json is not a JSON file"):
        molecules(maps)
    with pytest.raises(FileNotFoundError, match="blocks='pdb205': there is no such file"):
        molecules("pdb205")
    for wrong in (5, {"CO": [0]}):
        with pytest.raises(TypeError, match="must be a list of pairs"):
            molecules(wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": []}, r"blocks=\[\]: give at least one pair"),
        ({"blocks": ["CO"]}, r"blocks\[0\]='CO' must be a pair"),
        ({"blocks": [["C1CC", [0]]]}, "'C1CC' is not a valid SMILES"),
        ({"blocks": [["C.C", [0]]]}, "'C.C' is in several pieces"),
        ({"blocks": [["CO", [2]]]}, r"atoms \[2\] of 'CO' must be at least one index from 0 to 1"),
        ({"blocks": [["CO", []]]}, r"atoms \[\] of 'CO'"),
        ({"blocks": [["CO", 0]]}, "atoms 0 of 'CO' must be at least one index"),
        ({"blocks": [["CO", [True]]]}, r"atoms \[True\] of 'CO'"),
        ({"blocks": [["CO", {0}]]}, r"atoms \{0\} of 'CO'"),
        (
            {"blocks": [["CC(C)(C)c1" + "c(C(C)(C)C)" * 4 + "c1C(C)(C)C", [1]]]},
            "has 100000 symmetries or more",
        ),
        ({"min_blocks": 0}, "min_blocks=0 must be an integer of at least 1"),
        ({"max_blocks": 2.0}, "max_blocks=2.0 must be an integer"),
        ({"max_blocks": 25}, "max_blocks=25 must be at most 24"),
        ({"min_blocks": 4, "max_blocks": 3}, "min_blocks=4 exceeds max_blocks=3"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Molecule(**{"blocks": SYMMETRIC, "reward": tilted, **arguments})


@pytest.mark.parametrize(
    ("blocks", "bonds", "stems", "message"),
    [
        ([0, 0], [], [], "do not make its 2 blocks a tree"),
        ([0, 0], [[0, 1, 0, 1], [1, 0, 2, 3]], [], "do not make its 2 blocks a tree"),
        ([0, 0, 0], [[1, 2, 0, 1], [1, 2, 2, 3]], [], "do not make its 3 blocks a tree"),
        ([0], [], [[0, 7]], "molecule 0: no bond can be made to atom 7 of its block 0"),
        ([2, 0], [[0, 1, 2, 0]], [], "no bond can be made to atom 2 of its block 0"),
        ([0], [], [[1, 0]], "no bond can be made to atom 0 of its block 1"),
        ([5], [], [], r"Vocabulary\(5 entries, 4 blocks\) has no entry 5"),
        ([0, 0, 0, 0], [], [], "has 4 blocks; there must be 1 to max_blocks=3"),
        ([0], [], [[0, 0]] * 40, "block 0 has 40 stems on one atom, but no block of .* more than"),
        ([0], [], [[0, 0]] * 40_000, "block 0 has 40000 stems on one atom"),
    ],
)
def test_molecules_that_are_none(blocks, bonds, stems, message):
    with pytest.raises(ValueError, match=message):
        molecules(SYMMETRIC, max_blocks=3).states_of_blocks([blocks], [bonds], [stems])


# ---- the environment --------------------------------------------------------------------------


def test_the_environment_steps_a_batch_like_single_ones():
    arguments = {"blocks": SYMMETRIC, "reward": tilted, "max_blocks": 4}
    batch = gymnasium.make_vec(
        "MoleculeGFN-v0", 3, vectorization_mode="vector_entry_point", **arguments
    )
    singles = [gymnasium.make("MoleculeGFN-v0", **arguments) for _ in range(3)]
    generator = np.random.default_rng(6)
    observations, infos = batch.reset(seed=0)
    for env in singles:
        env.reset()
    ended = np.zeros(3, dtype=bool)
    for _ in range(20):
        actions = sample_legal_actions(infos["action_mask"], generator)
        observations, rewards, terminated, _, infos = batch.step(actions)
        for i, env in enumerate(singles):
            if ended[i]:
                observation, reward, done = env.reset()[0], 0.0, False
            else:
                observation, reward, done, _, _ = env.step(actions[i])
            assert np.array_equal(observation, observations[i])
            assert (reward, done) == (pytest.approx(rewards[i], abs=1e-12), terminated[i])
        ended = terminated
