"""How molecules are seen: fingerprints for other libraries, and drawings."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import VectorEnv
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors
from stable_baselines3 import A2C

from block_sets import tilted
from gfn_gym import GFNEnv, GFNVectorEnv
from gfn_gym.agents import SoftDQN, as_policy
from gfn_gym.dag import States
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.assemble import Assembler
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.evaluation import sample
from gfn_gym.mdp import sample_legal_actions


@pytest.fixture(scope="module")
def dag() -> Molecule:
    return Molecule(reward=tilted, max_blocks=4)


@pytest.fixture(scope="module")
def walk(dag: Molecule) -> States:
    """A walk up to four blocks and the stop, (6, d)."""
    generator, states = np.random.default_rng(5), [dag.initial_states(1)]
    while len(states) < 5:
        mask = dag.action_mask(states[-1])
        mask[:, 0] = False
        states.append(dag.step(states[-1], sample_legal_actions(mask, generator))[0])
    return np.concatenate([*states, states[-1]])


# ---- fingerprints -----------------------------------------------------------------------------


def test_fingerprints_are_morgans(dag: Molecule, walk: States) -> None:
    env = GFNEnv(dag, observation="fingerprint")
    observations = env.observer.observe(walk)
    assert observations.shape == (6, 2048)
    assert not observations[0].any()  # of no block
    for row, smiles in enumerate(Assembler(dag.vocabulary, 4).smiles(walk[1:5]), start=1):
        molecule = Chem.MolFromSmiles(smiles)
        expected = rdMolDescriptors.GetMorganFingerprintAsBitVect(molecule, 2, nBits=2048)
        assert np.flatnonzero(observations[row]).tolist() == list(expected.GetOnBits())
        assert observations[row] in env.observation_space


def test_gymnasium_takes_fingerprints(dag: Molecule) -> None:
    env = GFNEnv(dag, observation="fingerprint", invalid_action="terminate")
    check_env(env, skip_render_check=True)
    batch: VectorEnv = GFNVectorEnv(dag, num_envs=3, observation="fingerprint")
    observations, infos = batch.reset(seed=0)
    assert observations in batch.observation_space
    generator = np.random.default_rng(0)
    for _ in range(8):
        actions = sample_legal_actions(infos["action_mask"].astype(bool), generator)
        observations, _, _, _, infos = batch.step(actions)
        assert observations in batch.observation_space
    made = gymnasium.make("gfn_gym:MoleculeGFN-v0", observation="fingerprint", reward=tilted)
    assert made.observation_space.shape == (2048,)


def test_our_agents_refuse_fingerprints_and_others_take_them(dag: Molecule) -> None:
    env = GFNEnv(dag, observation="fingerprint", invalid_action="terminate")
    with pytest.raises(TypeError, match=r"'fingerprint' observations of .* cannot be turned back"):
        SoftDQN("SmallBlockTreePolicy", env, device="cpu")
    model = A2C("MlpPolicy", env, n_steps=8, seed=0, device="cpu").learn(16)
    samples = sample(dag, as_policy(model), 3)
    assert len(samples) == 3


def test_names_of_observations(dag: Molecule) -> None:
    with pytest.raises(ValueError, match=r"'smell' is unknown; choose .*'state', 'fingerprint'"):
        GFNEnv(dag, observation="smell")
    with pytest.raises(ValueError, match=r"choose from \['onehot', 'state'\]"):
        GFNEnv(Hypergrid(ndim=2, height=4), observation="fingerprint")


# ---- drawings ---------------------------------------------------------------------------------


def test_text(dag: Molecule, walk: States) -> None:
    lines = dag.render(walk, "ansi").split("\n")
    assert len(lines) == 6
    assert lines[0] == "0  no block"
    assert lines[-1] == "stopped"
    for row, (line, smiles) in enumerate(
        zip(lines[1:-1], Assembler(dag.vocabulary, 4).smiles(walk[1:5]), strict=True), start=1
    ):
        assert line.startswith(f"{row}  {smiles}  [")
        assert line.count(" + ") == row - 1
        assert line.endswith(f"{dag.trees(walk[row : row + 1]).open.sum()} open")


def test_pictures_grow_panel_by_panel(dag: Molecule, walk: States) -> None:
    pictures = [dag.render(walk[: t + 1], "rgb_array") for t in range(6)]
    assert {picture.shape for picture in pictures} == {(210, 4 * 280, 3)}
    assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}
    drawn = [[(p[:, i * 280 : (i + 1) * 280] < 255).any() for i in range(4)] for p in pictures]
    assert [sum(panels) for panels in drawn] == [0, 1, 2, 3, 4, 4]
    blue = (np.abs(pictures[3].astype(int) - [140, 204, 242]).max(axis=2) < 8).sum()
    assert (blue > 0) == (dag.trees(walk[3:4]).open.sum() > 0)
    with pytest.raises(ValueError, match="render mode 'human'"):
        dag.render(walk, "human")


def test_the_environments_draw(dag: Molecule) -> None:
    env = GFNEnv(dag, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(1)
    assert env.render().shape == (210, 4 * 280, 3)
