"""Presets: every one constructs, explicit arguments win, and defaults are the paper's."""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium
import pytest

import gfn_gym.agents
from block_sets import BLOCK_SETS, tilted
from dags import Words
from gfn_gym import GFNEnv
from gfn_gym.agents import FlowMatching, MunchausenDQN, SoftActorCritic, SoftDQN
from gfn_gym.agents.architectures import ARCHITECTURES
from gfn_gym.agents.presets import bit_sequence, hypergrid, molecule
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.dag import Molecule

ALGORITHMS: dict[str, Any] = {
    "SoftDQN": SoftDQN,
    "MunchausenDQN": MunchausenDQN,
    "SoftActorCritic": SoftActorCritic,
    "FlowMatching": FlowMatching,
}
DOMAINS = {
    "Hypergrid": lambda: GFNEnv(Hypergrid(2, 4)),
    "BitSequence": lambda: GFNEnv(BitSequence(8, 2)),
    "Molecule": lambda: GFNEnv(Molecule(BLOCK_SETS["ring"], tilted, max_blocks=3)),
}
POLICIES = {
    "Hypergrid": "MlpPolicy",
    "BitSequence": "TransformerPolicy",
    "Molecule": "SmallBlockTreePolicy",
}
PRESETS = {
    "Hypergrid": hypergrid.PRESETS,
    "BitSequence": bit_sequence.PRESETS,
    "Molecule": molecule.PRESETS,
}
OF_THE_POLICY = {"policy", "architecture"}  # settings that no algorithm takes by that name
ALL = [
    (domain, preset, algorithm)
    for domain, presets in PRESETS.items()
    for preset, algorithms in presets.items()
    for algorithm in algorithms
    if algorithm in ALGORITHMS  # the others: tests/test_balance.py, tests/test_entropic_ppo.py
]


def defaults(algorithm: Any) -> dict[str, Any]:
    """The defaults of an algorithm's arguments."""
    parameters = inspect.signature(algorithm).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


@pytest.mark.parametrize(("domain", "preset", "algorithm"), ALL)
def test_every_preset_constructs_with_its_values(domain: str, preset: str, algorithm: str) -> None:
    model = ALGORITHMS[algorithm]("auto", DOMAINS[domain](), preset=preset)
    assert model.preset == preset
    values = PRESETS[domain][preset][algorithm]
    assert set(values) <= set(defaults(ALGORITHMS[algorithm])) | OF_THE_POLICY
    assert model.policy.architecture is ARCHITECTURES[values.get("policy", POLICIES[domain])]
    for name, value in values.items():
        if name == "policy":
            continue
        if name in ("architecture", "policy_kwargs"):
            assert value.items() <= model.policy_kwargs.items()
        elif name == "train_freq":
            frequency = value if isinstance(value, tuple) else (value, "step")
            assert (model.train_freq.frequency, model.train_freq.unit.value) == frequency
        else:
            assert getattr(model, name) == value


@pytest.mark.parametrize(("domain", "preset", "algorithm"), ALL)
def test_explicit_arguments_win(domain: str, preset: str, algorithm: str) -> None:
    given = {"n_envs": 3, "leaf_weight": 1.23, "batch_size": 7, "replay_alpha": 0.9}
    model = ALGORITHMS[algorithm](POLICIES[domain], DOMAINS[domain](), preset=preset, **given)
    assert {name: getattr(model, name) for name in given} == given


def test_a_preset_does_not_change_what_it_does_not_name() -> None:
    model = MunchausenDQN("MlpPolicy", DOMAINS["Hypergrid"](), preset="fast", n_envs=4)
    named = PRESETS["Hypergrid"]["fast"]["MunchausenDQN"]
    for name in ("double", "max_grad_norm", "exploration_final_eps", "importance_weights"):
        if name not in named:
            assert getattr(model, name) == defaults(SoftDQN)[name]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_constructor_defaults_are_the_papers(algorithm: str) -> None:
    signature = defaults(ALGORITHMS[algorithm])
    assert signature["n_envs"] is None  # 16, or those of a VecEnv
    signature["n_envs"] = 16
    for name, value in PRESETS["Hypergrid"]["paper"][algorithm].items():
        assert signature[name] == value, name


def test_the_papers_values_are_those_of_facts() -> None:
    """As read in the public code of arXiv:2310.12934; a typing error here would go unnoticed."""
    stated = {
        "n_envs": 16,
        "learning_rate": 1e-3,
        "buffer_size": 100_000,
        "learning_starts": (256, "episode"),  # 16 iterations of 16
        "batch_size": 256,
        "train_freq": (16, "episode"),
        "gradient_steps": 1,
        "tau": 0.25,
        "replay_alpha": 0.5,
        "new_priority": "td_error",
    }
    assert {name: hypergrid.PAPER[name] for name in stated} == stated
    rest = {
        "dueling": False,
        "double": False,
        "huber": True,
        "leaf_weight": 1.0,
        "importance_weights": False,
        "exploration_initial_eps": 0.0,
        "exploration_final_eps": 0.0,
        "max_grad_norm": None,
        "average_share": 0.0,
        "gamma": 1.0,
    }
    assert {name: defaults(SoftDQN)[name] for name in rest} == rest
    munchausen = defaults(MunchausenDQN)
    assert (munchausen["munchausen_alpha"], munchausen["munchausen_l0"]) == (0.15, -100.0)


def test_the_papers_values_for_molecules() -> None:
    """As its public code has them, mols/."""
    stated = {
        "learning_rate": 5e-4,
        "buffer_size": 1_000_000,
        "learning_starts": 100_000,
        "batch_size": 256,
        "train_freq": (4, "episode"),
        "gradient_steps": 1,
        "tau": 0.1,
        "dueling": True,
        "replay_alpha": 0.9,
        "replay_beta": 0.1,
        "replay_beta_final": 0.1,
        "importance_weights": True,
        "exploration_initial_eps": 1.0,
        "exploration_final_eps": 0.05,
        "exploration_fraction": 0.001,
    }
    assert {name: molecule.PAPER[name] for name in stated} == stated
    munchausen = PRESETS["Molecule"]["paper"]["MunchausenDQN"]
    assert (munchausen["munchausen_alpha"], munchausen["munchausen_l0"]) == (0.15, -2500.0)


def test_the_papers_values_for_bit_sequences() -> None:
    """As its code's README gives them for k = 8, and as bitseq/run.py has the others."""
    stated = {
        "learning_rate": 2e-3,
        "buffer_size": 100_000,
        "learning_starts": (800, "episode"),  # 50 iterations of 16
        "batch_size": 256,
        "train_freq": (16, "episode"),
        "gradient_steps": 1,
        "tau": 1.0,
        "target_update_interval": 5,
        "leaf_weight": 2.0,
        "replay_alpha": 0.9,
        "replay_beta": 0.1,
        "replay_beta_final": 0.1,
        "importance_weights": True,
        "new_priority": "max",
        "exploration_initial_eps": 1e-3,
        "exploration_final_eps": 1e-3,
        "huber": True,
    }
    assert {name: bit_sequence.PAPER[name] for name in stated} == stated
    munchausen = PRESETS["BitSequence"]["paper"]["MunchausenDQN"]
    assert (munchausen["munchausen_alpha"], munchausen["munchausen_l0"]) == (0.15, -25.0)
    model = SoftDQN("TransformerPolicy", DOMAINS["BitSequence"](), preset="paper")
    assert model.policy.optimizer.param_groups[0]["weight_decay"] == 1e-5


def test_a_preset_takes_an_id_and_a_vec_env() -> None:
    env = gymnasium.make_vec(
        "gfn_gym:HypergridGFN-v0", 5, vectorization_mode="vector_entry_point", ndim=2
    )
    model = SoftDQN("MlpPolicy", env, preset="paper")
    assert model.n_envs == 5  # an environment's own number comes first
    model = SoftDQN("MlpPolicy", "gfn_gym:HypergridGFN-v0", preset="paper")
    assert model.n_envs == 16


def test_a_subclass_of_a_domain_or_of_an_algorithm_has_its_presets() -> None:
    class MyGrid(Hypergrid):
        pass

    class MyDQN(SoftDQN):  # type: ignore[misc, unused-ignore]
        pass

    model = MyDQN("MlpPolicy", GFNEnv(MyGrid(2, 4)), preset="paper", n_envs=2)
    assert model.preset == "paper" and model.n_envs == 2


def test_unknown_presets_are_refused_with_what_there_is() -> None:
    names = r"\['fast', 'frugal', 'paper'\]"
    with pytest.raises(ValueError, match=f"preset='quick' is not one of {names}"):
        SoftDQN("MlpPolicy", DOMAINS["Hypergrid"](), preset="quick")
    with pytest.raises(ValueError, match="Words was registered without presets"):
        SoftDQN("MlpPolicy", GFNEnv(Words()), preset="paper")


@pytest.mark.parametrize(("domain", "preset", "algorithm"), ALL)
def test_the_preset_is_saved_with_the_model(
    domain: str, preset: str, algorithm: str, tmp_path: Any
) -> None:
    model = ALGORITHMS[algorithm](POLICIES[domain], DOMAINS[domain](), preset=preset)
    model.save(tmp_path / "model")
    loaded = ALGORITHMS[algorithm].load(tmp_path / "model", trusted=True)
    assert loaded.preset == preset and loaded.n_envs == model.n_envs
    assert loaded.lr_schedule(0.3) == model.lr_schedule(0.3)


def test_policy_kwargs_are_merged_key_by_key() -> None:
    model = SoftDQN(
        "MlpPolicy", DOMAINS["Hypergrid"](), preset="fast", policy_kwargs={"net_arch": [8]}
    )
    assert model.policy_kwargs["net_arch"] == [8]
    assert model.policy.optimizer.param_groups[0]["betas"] == (0.9, 0.99)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_algorithm_has_the_papers_preset_in_every_domain(domain: str) -> None:
    everything = {name: getattr(gfn_gym.agents, name) for name in gfn_gym.agents.__all__}
    algorithms = {name for name, member in everything.items() if hasattr(member, "learn")}
    algorithms -= {"GFNAlgorithm"}
    assert len(algorithms) == 8
    assert set(PRESETS[domain]["paper"]) == algorithms
