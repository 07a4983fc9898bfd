"""From rows to molecules to log R: assembly, QED·SA, and users' rewards of SMILES."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from rdkit import Chem, RDConfig
from rdkit.Chem import QED
from stable_baselines3.common.vec_env import DummyVecEnv

from gfn_gym import GFNEnv
from gfn_gym.agents import SoftDQN
from gfn_gym.agents.vec_env import as_vec_env
from gfn_gym.envs.molecule import downloads, drug_likeness, rewards
from gfn_gym.envs.molecule.assemble import Assembler
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.envs.molecule.rewards import QedSa, Seh, SmilesReward, log_power, make_reward
from gfn_gym.envs.molecule.vocabulary import Vocabulary
from gfn_gym.mdp import MDP, sample_legal_actions
from gfn_gym.rewards import RewardError
from seh_data import data_folder, needs_data
from slow_rewards import Counting, DownAfter, failing, reward_of

__all__ = ["data_folder"]

PAIRS = [["c1ccccc1", [0, 2]], ["[nH]1cccc1", [0, 2]], ["CO", [0, 1]], ["[NH3+]C", [1, 0, 0]]]


def molecules_of(pairs=PAIRS, **arguments):
    return Molecule(blocks=pairs, **{"reward": lambda states: np.zeros(len(states)), **arguments})


def states_of(dag, *molecules):
    """Molecules (blocks, bonds, stems) as states."""
    return dag.states_of_blocks(*zip(*molecules, strict=True))


def random_objects(dag, n, seed=0):
    """Finished states of random walks, (n, d)."""
    rng, mdp = np.random.default_rng(seed), MDP(dag)
    states, done = dag.initial_states(n), np.zeros(n, dtype=bool)
    while not done.all():
        left = np.flatnonzero(~done)
        actions = sample_legal_actions(dag.action_mask(states[left]), rng)
        transition = mdp.dag.step(states[left], actions)
        states[left], done[left] = transition
    return states


# ---- assembly -----------------------------------------------------------------------------------


def test_assembled_by_hand():
    dag = molecules_of()
    assembler = Assembler(dag.vocabulary, dag.max_blocks)
    states = states_of(
        dag,
        ([0, 2], [[0, 1, 2, 1]], [[0, 0], [1, 0]]),
        ([1, 2], [[0, 1, 0, 0]], []),  # the bond takes the hydrogen of [nH]
        ([3, 2, 2], [[0, 1, 0, 1], [0, 2, 0, 1]], []),  # two of [NH3+]'s three
        ([3], [], [[0, 0], [0, 0]]),
    )
    expected = ["COc1ccccc1", "OCn1cccc1", "CO[NH+](C)OC", "C[NH3+]"]
    assert assembler.smiles(states) == expected
    parsed = [Chem.MolFromSmiles(smiles) for smiles in expected]
    for molecule, other in zip(assembler.molecules(states), parsed, strict=True):
        assert molecule.GetNumAtoms() == other.GetNumAtoms()
        assert molecule.HasSubstructMatch(other)


def test_atoms_lie_node_by_node_and_open_ones_are_flagged():
    dag = molecules_of([*PAIRS, ["F", [0]]], max_blocks=4)
    assembler = Assembler(dag.vocabulary, dag.max_blocks)
    states = random_objects(dag, 60)
    trees, vocabulary = dag.trees(states), dag.vocabulary
    open_atoms = assembler.open_atoms(states)
    for row, molecule in enumerate(assembler.molecules(states)):
        start, opened = 0, []
        for node in np.flatnonzero(trees.block[row] < vocabulary.n_blocks):
            block = Chem.MolFromSmiles(vocabulary.smiles[trees.block[row, node]])
            for atom in block.GetAtoms():
                placed = molecule.GetAtomWithIdx(start + atom.GetIdx())
                assert placed.GetSymbol() == atom.GetSymbol()
            slots = np.flatnonzero(trees.open[row, node])
            atoms = vocabulary.slot_atoms[trees.block[row, node], slots]
            opened += (start + atoms).tolist()
            start += block.GetNumAtoms()
        assert start == molecule.GetNumAtoms()
        assert open_atoms[row] == sorted(opened)
    assert assembler.flagged_atoms(states) == [atoms or [0] for atoms in open_atoms]
    assert any(not atoms for atoms in open_atoms)
    assert any(len(atoms) > 1 for atoms in open_atoms)


def test_blocks_that_offer_too_many_bonds():
    with pytest.raises(ValueError, match=r"'CO' cannot take a bond .* \[1, 1\] at once"):
        Assembler(Vocabulary([["C", [0]], ["CO", [1, 1]]]), 3)


@needs_data
def test_smiles_of_the_paper_s_test_molecules(data_folder):
    dag = Molecule(blocks="pdb105", reward=len)
    molecules = downloads.test_molecules()
    fields = [[m[name] for m in molecules] for name in ("blocks", "bonds", "stems")]
    assembler = Assembler(dag.vocabulary, dag.max_blocks)
    states = dag.states_of_blocks(*fields)
    assert assembler.smiles(states) == [m["smiles"] for m in molecules]


@pytest.mark.parametrize(
    "function",
    [
        lambda molecules: [Chem.MolFromSmiles(m).GetNumAtoms() for m in molecules],
        lambda molecule: float(Chem.MolFromSmiles(molecule).GetNumAtoms()),
    ],
)
def test_a_function_of_smiles_is_told_to_be_wrapped(function):
    dag = molecules_of(reward=function)
    with pytest.raises(TypeError, match=r"reward=.* is called with states.* pass SmilesReward"):
        dag.log_reward(random_objects(dag, 3))


def test_a_function_that_takes_both_is_told_apart_by_what_it_returns():
    """Of rows, len gives their width; of SMILES, their lengths."""
    dag = molecules_of(reward=lambda molecules: [float(len(m)) for m in molecules])
    with pytest.raises(TypeError, match=r"for all of 12, but not for their SMILES.* SmilesReward"):
        dag.log_reward(np.unique(random_objects(dag, 200), axis=0)[:12])
    for constant in (lambda molecules: np.zeros(len(molecules)), lambda m: (m >= 0).all(axis=1)):
        dag = molecules_of(reward=constant)
        assert len(dag.log_reward(random_objects(dag, 12))) == 12


def test_what_a_parameter_says_is_believed():
    def of_words(molecules: list[str]) -> list[float]:
        return [0.0 for _ in molecules]

    def of_rows(molecules: np.ndarray) -> np.ndarray:
        return molecules.sum(axis=1)

    for function in (of_words, lambda smiles: np.zeros(len(smiles))):
        with pytest.raises(TypeError, match=r"takes them, by its parameter.* SmilesReward"):
            molecules_of(reward=function)
    for function in (of_rows, lambda states: np.zeros(len(states))):
        with pytest.raises(TypeError, match=r"takes states, by its parameter.* list of SMILES"):
            molecules_of(reward=SmilesReward(function))
        molecules_of(reward=function)


def test_what_a_function_of_states_raises_comes_through():
    def broken(states):
        raise KeyError("mine")

    dag = molecules_of(reward=broken)
    with pytest.raises(KeyError, match="mine"):
        dag.log_reward(random_objects(dag, 3))


@pytest.mark.parametrize("pairs", [PAIRS, None], ids=["charges", "ours"])
def test_what_sanitising_leaves_out_is_as_it_would_be(pairs):
    dag = molecules_of(pairs)
    assembler, states = Assembler(dag.vocabulary, dag.max_blocks), random_objects(dag, 40)

    def facts(molecule):
        atoms = [
            (a.GetIsAromatic(), a.GetHybridization(), a.GetTotalNumHs(), a.GetNumRadicalElectrons())
            for a in molecule.GetAtoms()
        ]
        bonds = [(bond.GetBondType(), bond.GetIsConjugated()) for bond in molecule.GetBonds()]
        return atoms, bonds

    for molecule, bare in zip(
        assembler.molecules(states), assembler.molecules(states, rings=False), strict=True
    ):
        full = Chem.Mol(molecule)
        full.ClearComputedProps()
        Chem.SanitizeMol(full)
        assert facts(molecule) == facts(bare) == facts(full)
        rings = [tuple(sorted(m.GetRingInfo().AtomRings())) for m in (molecule, full)]
        assert rings[0] == rings[1]


# ---- QED and synthetic accessibility ------------------------------------------------------------


def test_qed_sa():
    dag = Molecule(max_blocks=4)
    states = random_objects(dag, 20)
    assert isinstance(dag.reward, QedSa)
    accessibility = rewards.synthetic_accessibility()
    molecules = [Chem.MolFromSmiles(s) for s in dag.reward.assembler.smiles(states)]
    scores = [QED.qed(m) * (10 - accessibility(m)) / 9 for m in molecules]
    assert min(scores) > 0
    np.testing.assert_allclose(dag.reward.scores(states), scores, rtol=1e-9)
    np.testing.assert_allclose(dag.log_reward(states), 4 * np.log(scores), rtol=1e-9)
    sharper = Molecule(max_blocks=4, reward_exponent=8)
    np.testing.assert_allclose(sharper.log_reward(states), 8 * np.log(scores), rtol=1e-9)


ALERTING = (
    "O=CCCS", "CC(=O)Cl", "[O-][N+](=O)c1ccccc1", "CN=[N+]=[N-]", "OOC", "C#CC(=O)OC", "NNC(=O)C",
    "N#CC(=C)C", "c1c(O)c(O)ccc1", "C1NC(=O)NC(=O)1", "CI", "CP", "O=C1NCC1", "CS(=O)(=O)O",
    "C=C=C",
    "[13CH4]", "[15NH3]", "CCCCCCC", "c1ccc2c(c1)ccc(=O)o2", "FC(F)(F)F", "C1CCCCCC1", "S=C(N)N",
    "[Si](C)(C)F", "CC[Se]C", "N=C=O", "c1cc(F)cc(Cl)c1Br", "C[n+]1ccccc1", "[2H]OC", "O", "C",
)  # fmt: skip


def test_drug_likeness_is_rdkits():
    dag = Molecule(reward="qed_sa")
    molecules = [Chem.MolFromSmiles(smiles) for smiles in ALERTING]
    molecules += dag.reward.assembler.molecules(random_objects(dag, 60))
    n_alerts = [drug_likeness.n_alerts(molecule) for molecule in molecules]
    assert n_alerts == [QED.properties(molecule).ALERTS for molecule in molecules]
    assert sum(n > 0 for n in n_alerts) > 20
    values = [drug_likeness.drug_likeness(molecule) for molecule in molecules]
    assert values == [QED.qed(molecule) for molecule in molecules]  # to the last bit
    found = {part for _, parts in drug_likeness._alerts_with_parts() for part in parts}
    assert found.issuperset(drug_likeness._parts_of_keys())  # else a key rules nothing out


def test_floor_comes_before_the_power():
    values = log_power([0.5, 1e-9, -1.0, 1e-4], 4.0, 1e-4)
    assert values == pytest.approx([4 * math.log(0.5), *3 * [4 * math.log(1e-4)]])
    assert np.isnan(log_power([np.nan], 4.0, 1e-4)).all()


def test_rdkit_without_contrib(tmp_path, monkeypatch):
    monkeypatch.setattr(RDConfig, "RDContribDir", str(tmp_path))
    rewards.synthetic_accessibility.cache_clear()
    with pytest.raises(ImportError, match=r"reward='qed_sa' needs RDKit's SA score"):
        Molecule(reward="qed_sa")


def test_default_reward_needs_neither_torch_nor_pooch():
    code = (
        "import sys, gymnasium; gymnasium.make('gfn_gym:MoleculeGFN-v0').reset(seed=0); "
        "assert not {'torch', 'pooch'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_without_rdkit_the_message_says_how_to_get_it():
    code = (
        "import sys, gymnasium; sys.modules['rdkit'] = None\n"
        "try: gymnasium.make('gfn_gym:MoleculeGFN-v0')\n"
        "except ImportError as error: assert \"pip install 'gfn-gym[molecules]'\" in str(error)\n"
        "else: raise AssertionError('there is an rdkit')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---- make_reward --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"reward": "qed"}, ValueError, r"reward='qed' must be one of \['qed_sa', 'seh'\]"),
        ({"reward": 3}, TypeError, "reward=3 must be a name"),
        ({"reward_exponent": 0}, ValueError, "reward_exponent=0 must be a finite number above 0"),
        ({"reward_exponent": -1, "reward": failing}, ValueError, "reward_exponent=-1"),
    ],
)
def test_bad_rewards(arguments, error, words):
    with pytest.raises(error, match=words):
        Molecule(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"function": "vina"}, "must be a function of a list of SMILES"),
        ({"on_failure": "ignore"}, "on_failure='ignore' must be 'raise' or 'floor'"),
        ({"on_failure": "floor"}, "floor=None must be the finite log R"),
        ({"on_failure": "floor", "floor": -math.inf}, "floor=-inf must be the finite log R"),
        ({"floor": -5.0}, "no effect"),
        ({"timeout": 0}, "timeout=0 must be a finite number above 0"),
        ({"workers": -1}, "workers=-1 must be an integer of at least 0"),
        ({"cache_size": 0.5}, "cache_size=0.5 must be an integer"),
    ],
)
def test_bad_smiles_rewards(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        SmilesReward(**{"function": failing, **arguments})


def test_smiles_reward_is_found_where_it_was_first():
    from gfn_gym.envs.molecule import resilient

    assert (resilient.SmilesReward, resilient.RewardError) == (SmilesReward, RewardError)


def test_function_of_states_is_asked_once_a_state():
    asked = []

    def function(states):
        asked.extend(states.tolist())
        return states[:, 0].astype(float)

    dag = molecules_of(reward=function, reward_exponent=2.0, max_blocks=2)
    states = random_objects(dag, 60)
    distinct = np.unique(states, axis=0)
    assert len(distinct) < len(states)
    for _ in range(2):
        assert dag.log_reward(states).tolist() == (2.0 * states[:, 0]).tolist()
    assert sorted(asked) == distinct.tolist()


@pytest.mark.parametrize("returned", [np.zeros(3), [math.nan], None])
def test_bad_function_of_states(returned):
    dag = molecules_of(reward=lambda states: returned)
    with pytest.raises(ValueError, match="the reward function returned"):
        dag.log_reward(random_objects(dag, 1))


def test_trees_of_one_smiles_are_asked_once():
    function = Counting()
    pairs = [["CO", [0, 1]], ["C", [0, 0]], ["CC", [0, 1]], ["O", [0, 0]]]
    dag = molecules_of(pairs, reward=SmilesReward(function), reward_exponent=3.0)
    # C–C–O as CO + C and as CC + O; repeats of the first.
    states = states_of(
        dag,
        ([0, 1], [[0, 1, 0, 0]], []),
        ([2, 3], [[0, 1, 1, 0]], []),
        ([0, 1], [[0, 1, 0, 0]], []),
    )
    assert len(np.unique(states, axis=0)) == 2
    assert dag.log_reward(states) == pytest.approx([3.0 * reward_of("CCO")] * 3)
    assert function.asked == [["CCO"]]


@needs_data
@pytest.mark.parametrize("reward", ["qed_sa", "seh", "smiles"])
def test_pickles_are_small_and_go_on(data_folder, reward):
    if reward == "smiles":
        reward = SmilesReward(failing, on_failure="floor", floor=-9.0, timeout=5.0)
    dag = molecules_of([["C", [0, 0]], ["O", [0, 0]]], reward=reward)
    states = random_objects(dag, 50)
    values = dag.log_reward(states)
    pickled = pickle.dumps(dag.reward)
    assert len(pickled) < 20_000
    again = pickle.loads(pickled)
    np.testing.assert_allclose(again(states), values, atol=1e-4)
    assert again == dag.reward == copy.deepcopy(dag.reward)


def test_environments_with_rewards_made_alike_are_one_batch():
    def batch(*exponents):
        made = [
            lambda beta=beta: GFNEnv(Molecule(PAIRS, reward_exponent=beta)) for beta in exponents
        ]
        return as_vec_env(DummyVecEnv(made), 1)

    assert batch(4, 4).num_envs == 2
    with pytest.raises(ValueError, match="reward functions differ"):
        batch(4, 8)


def test_rewards_made_alike_are_equal():
    vocabulary = Vocabulary(PAIRS)
    made = [
        lambda: make_reward("qed_sa", vocabulary, 4),
        lambda: make_reward("qed_sa", vocabulary, 4, 8.0),
        lambda: make_reward(np.sum, vocabulary, 4),
        lambda: make_reward(len, vocabulary, 4),
        lambda: make_reward(SmilesReward(failing), vocabulary, 4),
        lambda: make_reward(SmilesReward(failing, timeout=3), vocabulary, 4),
    ]
    for i, one in enumerate(made):
        for j, other in enumerate(made):
            assert (one() == other()) == (i == j)


@needs_data
def test_seh_wants_a_dtype_that_it_knows(data_folder):
    with pytest.raises(ValueError, match="dtype='float16' must be 'float32' or 'float64'"):
        Seh(Assembler(Vocabulary(PAIRS), 4), dtype="float16")


# ---- training -----------------------------------------------------------------------------------


def test_training_that_a_reward_stops_can_be_saved_and_goes_on(tmp_path):
    pairs = [["CO", [0, 1]], ["C", [0, 0]]]
    dag = molecules_of(pairs, reward=SmilesReward(DownAfter(12)), max_blocks=4)
    model = SoftDQN("MlpPolicy", GFNEnv(dag), n_envs=4, learning_starts=8, batch_size=8, seed=0)
    with pytest.raises(RewardError, match="ConnectionError: connection refused"):
        model.learn(total_timesteps=200)
    stopped, stored = model.num_timesteps, model.replay_buffer.size()
    assert 0 < stored <= stopped < 200
    model.save_checkpoint(tmp_path / "stopped.zip")

    resumed = SoftDQN.resume(tmp_path / "stopped.zip", trusted=True)
    assert (resumed.num_timesteps, resumed.replay_buffer.size()) == (stopped, stored)
    for going_on in (model, resumed):
        going_on.mdp.dag.reward.function.function.n = 10**6  # the service is up again
    model.learn(total_timesteps=200 - stopped, reset_num_timesteps=False)
    resumed.learn()
    assert min(model.num_timesteps, resumed.num_timesteps) >= 200
