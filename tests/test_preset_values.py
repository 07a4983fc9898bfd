"""What "paper", "fast" and "frugal" mean: the settings that a model has, written out a second time.

Read from the models, not from the presets' data: what a preset leaves to a default counts too. A
change here is a change of what users get under the same name, and of what the figures say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from logs import logged
from torch import nn

import gfn_gym.agents
from block_sets import BLOCK_SETS, tilted
from gfn_gym import GFNEnv
from gfn_gym.agents.architectures import ScoredEdges, Spins
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.ising import Ising
from gfn_gym.envs.molecule.dag import Molecule

DOMAINS: dict[str, tuple[str, Callable[[], GFNEnv]]] = {
    "grid": ("MlpPolicy", lambda: GFNEnv(Hypergrid(2, 4))),
    "bits": ("TransformerPolicy", lambda: GFNEnv(BitSequence(8, 2))),
    "molecules": (
        "SmallBlockTreePolicy",
        lambda: GFNEnv(Molecule(BLOCK_SETS["ring"], tilted, max_blocks=3)),
    ),
    "networks": ("ScoredEdgesPolicy", lambda: GFNEnv(BayesianNetwork(erdos_renyi_data(4)[0]))),
    "spins": ("SpinsPolicy", lambda: GFNEnv(Ising(3))),
}

# ---- the values -----------------------------------------------------------------------------

COMMON: dict[str, Any] = {
    "gradient_steps": 1,
    "exploration_initial_eps": 0.0,
    "exploration_final_eps": 0.0,
    "exploration_fraction": 1.0,
    "max_grad_norm": None,
    "learnt_backward": False,
}
SOFT_Q: dict[str, Any] = {
    **COMMON,
    "gamma": 1.0,
    "target_update_interval": 1,
    "average_share": 0.0,
    "dueling": False,
    "double": False,
    "n_step": 1,
    "td_lambda": 1.0,
    "planning_simulations": 0,
    "huber": True,
    "leaf_weight": 1.0,
    "replay_beta": 0.0,
    "replay_beta_final": 1.0,
    "importance_weights": False,
}
GRID: dict[str, Any] = {
    **SOFT_Q,
    "n_envs": 16,
    "learning_rate": 1e-3,
    "buffer_size": 100_000,
    "learning_starts": (256, "episode"),
    "batch_size": 256,
    "train_freq": (16, "episode"),
    "tau": 0.25,
    "replay_alpha": 0.5,
    "new_priority": "td_error",
}
BITS: dict[str, Any] = {
    **SOFT_Q,
    "n_envs": 16,
    "learning_rate": 2e-3,
    "buffer_size": 100_000,
    "learning_starts": (800, "episode"),
    "batch_size": 256,
    "train_freq": (16, "episode"),
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
}
MOLECULES: dict[str, Any] = {
    **SOFT_Q,
    "n_envs": 4,
    "learning_rate": 5e-4,
    "buffer_size": 1_000_000,
    "learning_starts": 100_000,
    "batch_size": 256,
    "train_freq": (4, "episode"),
    "tau": 0.1,
    "dueling": True,
    "replay_alpha": 0.9,
    "replay_beta": 0.1,
    "replay_beta_final": 0.1,
    "importance_weights": True,
    "new_priority": "max",
    "exploration_initial_eps": 1.0,
    "exploration_final_eps": 0.05,
    "exploration_fraction": 0.001,
}
FAST_GRID: dict[str, Any] = {
    **SOFT_Q,
    "n_envs": 256,
    "learning_rate": (8e-3, 4e-5),  # falls linearly over the training
    "buffer_size": 100_000,
    "learning_starts": 2_048,
    "batch_size": 512,
    "train_freq": (1, "step"),
    "tau": 0.25,
    "dueling": True,
    "leaf_weight": 5.0,
    "replay_alpha": 0.5,
    "new_priority": "max",
    "average_share": 0.05,
}
FAST_NETWORKS: dict[str, Any] = {
    **FAST_GRID,
    "dueling": False,
    "reward_annealing": (0.1, 0.7),
    "exploration_initial_eps": 0.1,
    "exploration_final_eps": 0.02,
    "exploration_fraction": 0.7,
}
FAST_BITS: dict[str, Any] = {
    **FAST_GRID,
    "n_envs": 64,
    "learning_rate": (3e-3, 3e-5),
    "learning_starts": 1_024,
    "batch_size": 256,
    "dueling": False,
}
FAST_MOLECULES: dict[str, Any] = {
    **FAST_GRID,
    "n_envs": 64,
    "learning_rate": (3e-3, 3e-5),
    "buffer_size": 1_000_000,
    "learning_starts": 4_096,
    "batch_size": 256,
    "tau": 0.1,
    "exploration_initial_eps": 0.05,
    "exploration_final_eps": 0.05,
}
BALANCE: dict[str, dict[str, Any]] = {
    "grid": {
        **COMMON, "n_envs": 16, "learning_rate": 1e-3, "train_freq": (16, "episode"),
        "replay_trajectories": 0,
    },
    "bits": {
        **COMMON, "n_envs": 16, "learning_rate": 2e-3, "train_freq": (16, "episode"),
        "replay_trajectories": 0, "exploration_initial_eps": 1e-3, "exploration_final_eps": 1e-3,
    },
    "molecules": {
        **COMMON, "n_envs": 4, "learning_rate": 5e-4, "train_freq": (4, "episode"),
        "replay_trajectories": 0, "exploration_initial_eps": 0.05, "exploration_final_eps": 0.05,
    },
}  # fmt: skip
PPO: dict[str, Any] = {
    **COMMON,
    "n_envs": 16,
    "learning_rate": 1e-3,
    "value_learning_rate": 1e-3 / 3,
    "train_freq": (16, "episode"),
    "gradient_steps": 4,
    "gae_lambda": 0.7,
    "clip_range": 0.2,
    "kl_coefficient": 1.0,
}


def without(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def paper(
    domain: str, soft_q: dict[str, Any], l0: float, q_rate: float, log_z_rate: float, lam: float
) -> dict[tuple[str, str], dict[str, Any]]:
    steps_ahead = ("n_step", "td_lambda", "target_update_interval", "tau")
    soft_q_alone = ("double", "planning_simulations")
    critics = without(soft_q, *soft_q_alone)
    flow_matching = without(critics, *steps_ahead, "learnt_backward")
    return {
        (domain, "SoftDQN"): soft_q,
        (domain, "MunchausenDQN"): {**soft_q, "munchausen_alpha": 0.15, "munchausen_l0": l0},
        (domain, "SoftActorCritic"): {**critics, "q_learning_rate": q_rate},
        (domain, "FlowMatching"): {**flow_matching, "huber": False},
        (domain, "TrajectoryBalance"): {**BALANCE[domain], "log_z_learning_rate": log_z_rate},
        (domain, "DetailedBalance"): BALANCE[domain],
        (domain, "SubTrajectoryBalance"): {**BALANCE[domain], "subtb_lambda": lam},
        (domain, "EntropicPPO"): PPO,
    }


PAPER = {
    **paper("grid", GRID, l0=-100.0, q_rate=1e-2, log_z_rate=0.1, lam=0.9),
    **paper("bits", BITS, l0=-25.0, q_rate=2e-3, log_z_rate=0.1, lam=1.9),
    **paper("molecules", MOLECULES, l0=-2500.0, q_rate=5e-4, log_z_rate=1e-2, lam=0.99),
}
FAST = {
    (domain, algorithm): {**settings, **own}
    for domain, settings, l0 in (
        ("grid", FAST_GRID, -100.0),
        ("bits", FAST_BITS, -100.0),
        ("molecules", FAST_MOLECULES, -2500.0),
        ("networks", FAST_NETWORKS, -100.0),
        ("spins", FAST_GRID, -100.0),
    )
    for algorithm, own in (
        ("SoftDQN", {}),
        ("MunchausenDQN", {"munchausen_alpha": 0.15, "munchausen_l0": l0}),
    )
}
# "fast" with few environments, a short warm-up, every object replayed, a target that is flat first.
SAVING: dict[str, Any] = {
    "n_envs": 8,
    "learning_starts": 256,
    "replay_pool": 10_000,
    "reward_annealing": (0.1, 0.3),
}
FRUGAL = {key: {**settings, **SAVING} for key, settings in FAST.items()}
for algorithm in ("SoftDQN", "MunchausenDQN"):
    FRUGAL["molecules", algorithm] |= {
        "n_envs": 16,
        "learning_starts": 1_024,
        "reward_annealing": (0.1, 0.5),
    }
ALL = [
    (preset, *key, settings)
    for preset, by_key in (("paper", PAPER), ("fast", FAST), ("frugal", FRUGAL))
    for key, settings in by_key.items()
]


def make(preset: str, domain: str, algorithm: str) -> Any:
    policy, env = DOMAINS[domain]
    return getattr(gfn_gym.agents, algorithm)(policy, env(), preset=preset)


@pytest.mark.parametrize(
    ("preset", "domain", "algorithm", "expected"), ALL, ids=["-".join(case[:3]) for case in ALL]
)
def test_settings_of_the_presets(
    preset: str, domain: str, algorithm: str, expected: dict[str, Any]
) -> None:
    model = make(preset, domain, algorithm)
    found = {name: getattr(model, name) for name in expected}
    found["train_freq"] = (model.train_freq.frequency, model.train_freq.unit.value)
    rate = expected["learning_rate"]
    first, last = rate if isinstance(rate, tuple) else (rate, rate)
    rates = [model.lr_schedule(left) for left in (1.0, 0.5, 0.0)]
    assert rates == pytest.approx([first, (first + last) / 2, last])
    assert {**found, "learning_rate": rate} == expected


# ---- networks and optimizers ----------------------------------------------------------------


def activations(model: Any) -> set[str]:
    kinds = (nn.ReLU, nn.LeakyReLU)
    return {str(module) for module in model.policy.modules() if isinstance(module, kinds)}


def optimizer(model: Any) -> tuple[Any, ...]:
    (found,) = {(group["betas"], group["weight_decay"]) for group in groups(model)}
    return found


def groups(model: Any) -> Any:
    return model.policy.optimizer.param_groups


@pytest.mark.parametrize("algorithm", ["SoftDQN", "MunchausenDQN"])
def test_networks_and_optimizers_of_fast(algorithm: str) -> None:
    models = {domain: make("fast", domain, algorithm) for domain in DOMAINS}
    for domain in ("grid", "networks", "spins"):
        assert activations(models[domain]) == {"LeakyReLU(negative_slope=0.1)"}
    assert {optimizer(model) for model in models.values()} == {((0.9, 0.99), 0)}
    spins, bits = models["spins"], models["bits"]
    assert type(spins.policy.online.architecture) is Spins
    assert type(models["networks"].policy.online.architecture) is ScoredEdges
    kwargs = {name: bits.policy_kwargs[name] for name in ("dropout", "learnt_positions")}
    assert kwargs == {"dropout": 0.0, "learnt_positions": True}
    assert bits.policy_kwargs["norm_first"] is True


@pytest.mark.parametrize("algorithm", sorted({algorithm for _, algorithm in PAPER}))
def test_networks_and_optimizers_of_paper(algorithm: str) -> None:
    grid, bits, molecules = (make("paper", domain, algorithm) for domain in BALANCE)
    assert activations(grid) == {"ReLU()"}
    for model in (grid, bits, molecules):
        assert {group["betas"] for group in groups(model)} == {(0.9, 0.999)}
    # TB's log Z has a group of its own, without; PPO's paper has none.
    decay = 0.0 if algorithm == "EntropicPPO" else 1e-5
    assert [groups(model)[0]["weight_decay"] for model in (grid, bits, molecules)] == [0, decay, 0]


@pytest.mark.parametrize("algorithm", ["SoftDQN", "MunchausenDQN"])
@pytest.mark.parametrize("weight", [2.0, 5.0])
def test_an_end_weighs_as_much_as_leaf_weight_says(algorithm: str, weight: float) -> None:
    """The loss of the first update, the same batch each time, is linear in it."""
    policy, env = DOMAINS["grid"]
    kwargs: dict[str, Any] = {"n_envs": 4, "learning_starts": 8, "train_freq": 1, "seed": 0}
    losses = []
    for leaf_weight in (1e-9, 1.0, weight):
        model = getattr(gfn_gym.agents, algorithm)(
            policy, env(), leaf_weight=leaf_weight, replay_alpha=0.0, **kwargs
        )
        losses.append(logged(model.learn(8))["train/loss"])
    rest, one, more = losses
    assert one > 1.1 * rest  # there are ends in the batch
    assert more - rest == pytest.approx(weight * (one - rest), rel=1e-4)
