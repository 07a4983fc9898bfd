"""Any network with any algorithm: ours and a user's own, P_B included, under every preset."""

from __future__ import annotations

import copy
import inspect
import re
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch as th
from own_architecture import AttentionOverCoordinates
from torch import nn

from block_sets import BLOCK_SETS, tilted
from gfn_gym import GFNEnv, agents
from gfn_gym.agents import Architecture, GFNAlgorithm, SoftDQN, as_policy
from gfn_gym.agents.architectures import ARCHITECTURES, MLP
from gfn_gym.agents.architectures.mlp import NGrams, OneHotLinear
from gfn_gym.agents.networks import QNetwork
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.ising import Ising
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.evaluation import evaluate_exact, log_probs_of
from gfn_gym.graph import enumerate_graph

ALGORITHMS = [
    getattr(agents, name)
    for name in agents.__all__
    if inspect.isclass(getattr(agents, name))
    and issubclass(getattr(agents, name), GFNAlgorithm)
    and name != "GFNAlgorithm"
]
LEARN_BACKWARD = [a for a in ALGORITHMS if "learnt_backward" in inspect.signature(a).parameters]
DAGS = {
    "grid": Hypergrid(2, 4),
    "bits": BitSequence(8, 2, n_modes=2),
    "molecules": Molecule(blocks=BLOCK_SETS["ring"], max_blocks=3, reward=tilted),
    "networks": BayesianNetwork(erdos_renyi_data(3)[0]),
    "spins": Ising(2, field=0.1),
}
FITTING = {
    "MlpPolicy": ("grid", "bits", "molecules"),
    "TransformerPolicy": ("bits",),
    "MixturePolicy": ("bits",),
    "BlockTreePolicy": ("molecules",),
    "SmallBlockTreePolicy": ("molecules",),
    "ScoredEdgesPolicy": ("networks",),
    "SpinsPolicy": ("spins",),
    AttentionOverCoordinates: ("grid", "bits", "molecules"),
}
SMALL: dict[Any, dict[str, Any]] = {
    "MlpPolicy": {"net_arch": [8]},
    "TransformerPolicy": {"width": 8, "heads": 2, "layers": 1},
    "MixturePolicy": {"experts": 4, "rank": 2},
    "BlockTreePolicy": {"width": 8, "steps": 1},
    "SmallBlockTreePolicy": {"width": 8, "steps": 1},
    "ScoredEdgesPolicy": {"net_arch": [8]},
    "SpinsPolicy": {"net_arch": [8]},
    AttentionOverCoordinates: {"width": 8},
}


def weights(model: Any) -> th.Tensor:
    parts = [p.detach().flatten() for p in model.policy.parameters()]
    return th.cat(parts)


def small_model(
    algorithm: Any, policy: Any = "MlpPolicy", name: str = "grid", **kwargs: Any
) -> Any:
    """A model that learns from its first trajectories on, of one of ``DAGS``."""
    if "learning_starts" in inspect.signature(algorithm).parameters:
        kwargs = {"learning_starts": 8, "batch_size": 8, **kwargs}
    return algorithm(
        policy, GFNEnv(DAGS[name]), n_envs=4, train_freq=(4, "episode"), seed=0,
        policy_kwargs=SMALL[policy], **kwargs,
    )  # fmt: skip


def test_all_eight_are_here():
    assert len(ALGORITHMS) == 8 and len(LEARN_BACKWARD) == 7  # flow matching has no P_B
    assert set(FITTING) - {AttentionOverCoordinates} == set(ARCHITECTURES)


@pytest.mark.parametrize("learnt_backward", [False, True])
@pytest.mark.parametrize("policy", FITTING)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_trains_with_every_architecture(algorithm, policy, learnt_backward):
    if learnt_backward and algorithm not in LEARN_BACKWARD:
        pytest.skip("flow matching has no P_B")
    for name in FITTING[policy]:
        kwargs: dict[str, Any] = {"learnt_backward": True} if learnt_backward else {}
        model = small_model(algorithm, policy, name, **kwargs)
        before = weights(model)
        model.learn(total_trajectories=24)
        assert not weights(model).equal(before)
        states = DAGS[name].initial_states(2)
        assert np.isfinite(log_probs_of(DAGS[name], as_policy(model), states).max(axis=1)).all()
        if learnt_backward:
            network = model.backward.reward_network
            assert network is not None and model.backward_policy is not None
            children, _ = DAGS[name].step(states, DAGS[name].action_mask(states).argmax(axis=1))
            log_p = model.backward_policy(children)
            assert np.allclose(np.exp(log_p).sum(axis=1), 1)


def test_a_network_of_ones_own_learns():
    model = SoftDQN(
        AttentionOverCoordinates, GFNEnv(Hypergrid(2, 4)), n_envs=16, learning_rate=5e-3,
        learning_starts=(64, "episode"), seed=0,
    )  # fmt: skip
    model.learn(total_trajectories=6_000)
    assert evaluate_exact(model.dag, as_policy(model))["total_variation"] < 0.05


def test_a_network_of_ones_own_is_saved_and_loaded(tmp_path):
    model = SoftDQN(AttentionOverCoordinates, "HypergridGFN-v0", policy_kwargs={"width": 8}, seed=0)
    model.save(tmp_path / "model")
    loaded = SoftDQN.load(tmp_path / "model", trusted=True)
    states = model.dag.initial_states(1)
    assert isinstance(loaded.policy.online.architecture, AttentionOverCoordinates)
    assert np.array_equal(loaded.policy.log_probs(states), model.policy.log_probs(states))


# ---- presets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["paper", "fast"])
@pytest.mark.parametrize("policy", FITTING)
def test_every_preset_goes_with_every_architecture(policy, preset):
    for name in FITTING[policy]:
        model = SoftDQN(policy, GFNEnv(DAGS[name]), preset=preset, policy_kwargs=SMALL[policy])
        assert isinstance(model.policy.online, QNetwork)
        chosen = ARCHITECTURES.get(policy, policy)
        assert type(model.policy.online.architecture) is chosen


def test_settings_of_the_presets_architecture_are_left_out_for_another():
    bits = GFNEnv(DAGS["bits"])
    own = SoftDQN("auto", bits, preset="fast")
    assert own.policy.architecture_kwargs["norm_first"] is True
    other = SoftDQN("MlpPolicy", bits, preset="fast")
    assert other.policy.architecture_kwargs == {}
    assert other.policy.optimizer_kwargs == own.policy.optimizer_kwargs
    assert other.leaf_weight == own.leaf_weight


def test_explicit_settings_win_over_the_presets():
    bits = GFNEnv(DAGS["bits"])
    model = SoftDQN("auto", bits, preset="fast", policy_kwargs={"norm_first": False, "width": 8})
    assert model.policy.architecture_kwargs["norm_first"] is False
    assert model.policy.architecture_kwargs["learnt_positions"] is True


@pytest.mark.parametrize(
    ("name", "expected"),
    [("grid", "MlpPolicy"), ("bits", "TransformerPolicy"), ("molecules", "SmallBlockTreePolicy")],
)
def test_auto_is_the_domains_policy(name, expected):
    model = SoftDQN("auto", GFNEnv(DAGS[name]))
    assert type(model.policy.online.architecture) is ARCHITECTURES[expected]


def test_auto_is_the_policy_that_the_preset_names():
    model = SoftDQN("auto", GFNEnv(DAGS["molecules"]), preset="paper", policy_kwargs={"steps": 1})
    assert type(model.policy.online.architecture) is ARCHITECTURES["BlockTreePolicy"]


class OwnLoss(agents.trajectories.TrajectoryAlgorithm):
    """A new loss as CONTRIBUTING has it: only what is its own."""

    def _roles(self):
        return agents.policy.Roles(dueling=True)

    def _loss(self, batch):
        log_flow, log_forward = agents.targets.flow_and_forward(
            self.policy.online.logits(batch.states, batch.masks), batch.actions
        )
        return (log_flow + log_forward).square().mean()


def test_a_preset_is_never_ignored():
    grid = GFNEnv(DAGS["grid"])
    with pytest.raises(ValueError, match="preset='nonsense' is not one of"):
        OwnLoss("MlpPolicy", grid, preset="nonsense")
    with pytest.raises(ValueError, match="has no settings for OwnLoss, only for"):
        OwnLoss("MlpPolicy", grid, preset="paper")
    OwnLoss("MlpPolicy", grid).learn(total_trajectories=32)

    class Variant(agents.DetailedBalance):
        """One that is a variant has its parent's settings."""

    assert Variant("MlpPolicy", grid, preset="paper").preset == "paper"


class Passing(SoftDQN):  # type: ignore[misc, unused-ignore]
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


class WithoutPolicy(SoftDQN):  # type: ignore[misc, unused-ignore]
    def __init__(self, env, **kwargs):
        super().__init__("MlpPolicy", env, **kwargs)


class ByDefault(SoftDQN):  # type: ignore[misc, unused-ignore]
    def __init__(self, policy, env, preset="fast", **kwargs):
        super().__init__(policy, env, preset=preset, **kwargs)


class Always(SoftDQN):  # type: ignore[misc, unused-ignore]
    def __init__(self, policy, env, **kwargs):
        super().__init__(policy, env, preset="fast", **kwargs)


class Few(SoftDQN):  # type: ignore[misc, unused-ignore]
    def __init__(self, policy, env, own=1):
        super().__init__(policy, env, leaf_weight=own)


class Deaf(SoftDQN):  # type: ignore[misc, unused-ignore]
    def __init__(self, policy, env, **kwargs):
        super().__init__(policy, env)


class Bare(GFNAlgorithm):  # type: ignore[misc, unused-ignore]
    _roles = _make_buffer = train = None


@pytest.mark.parametrize(
    ("make", "leaf_weight"),
    [
        (lambda env: Passing("MlpPolicy", env), 1),
        (lambda env: Passing("MlpPolicy", env, preset="fast"), 5),
        (lambda env: WithoutPolicy(env), 1),
        (lambda env: WithoutPolicy(env=env, preset="fast"), 5),
        (lambda env: ByDefault("MlpPolicy", env), 5),
        (lambda env: ByDefault("MlpPolicy", env, "fast", leaf_weight=2), 2),
        (lambda env: ByDefault("MlpPolicy", env, None), 1),
        (lambda env: Always("MlpPolicy", env), 5),
        (lambda env: Always("MlpPolicy", env, leaf_weight=2), 2),
        (lambda env: Few("MlpPolicy", env), 1),
        (lambda env: Deaf("MlpPolicy", env), 1),
    ],
)
def test_a_preset_reaches_constructors_of_every_kind(make, leaf_weight, tmp_path):
    model = make(GFNEnv(DAGS["grid"]))
    assert model.leaf_weight == leaf_weight
    assert model.preset == ("fast" if model.n_envs == 256 else None)
    model.save(tmp_path / "model")
    if not isinstance(model, (WithoutPolicy, Few, Deaf)):  # which take less than SB3's load gives
        assert type(model).load(tmp_path / "model").leaf_weight == leaf_weight


def test_a_constructor_that_would_lose_a_preset_says_so():
    grid = GFNEnv(DAGS["grid"])
    with pytest.raises(TypeError, match="Deaf does not pass its arguments on to SoftDQN"):
        Deaf("MlpPolicy", grid, preset="fast")
    with pytest.raises(TypeError, match="unexpected keyword argument 'preset'"):
        Few("MlpPolicy", grid, preset="fast")
    with pytest.raises(ValueError, match="preset='nonsense' is not one of"):
        Bare("MlpPolicy", grid, preset="nonsense")
    with pytest.raises(TypeError, match=r"preset=\['fast'\] must be a preset's name"):
        SoftDQN("MlpPolicy", grid, preset=["fast"])


@pytest.mark.parametrize("preset", [None, "fast"])
@pytest.mark.parametrize("bad", [3, "width", [("net_arch", [4])], {3: 4}])
def test_policy_kwargs_are_a_dict(bad, preset):
    with pytest.raises(TypeError, match=r"policy_kwargs=.* must be a dict of settings by name"):
        SoftDQN("MlpPolicy", GFNEnv(DAGS["grid"]), preset=preset, policy_kwargs=bad)


# ---- arguments ----------------------------------------------------------------------------------


def documented(algorithm: type) -> list[str]:
    """The names in the Args section of a class's docstring, in order."""
    text = inspect.getdoc(algorithm) or ""
    section = text.split("Args:\n")[1]
    return [
        name.strip()
        for line in section.splitlines()
        if (match := re.match(r"    (\w[\w, ]*): ", line))
        for name in match[1].split(",")
    ]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_argument_is_documented_once(algorithm):
    parameters = inspect.signature(algorithm).parameters
    assert documented(algorithm) == [name for name in parameters if not name.startswith("_")]
    kinds = {parameter.kind for parameter in parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_arguments_keep_types_and_reach_the_model(algorithm):
    model = algorithm("MlpPolicy", GFNEnv(DAGS["grid"]))
    for name, parameter in list(inspect.signature(algorithm).parameters.items())[2:-1]:
        assert parameter.annotation is not inspect.Parameter.empty, name
        if name in ("device", "train_freq", "stats_window_size", "policy_kwargs", "n_envs"):
            continue  # which SB3 turns into something else
        assert getattr(model, name) == parameter.default or name == "gradient_steps", name


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_few_classes_lie_above_an_algorithm(algorithm):
    ours = [c for c in algorithm.__mro__[1:] if c.__module__.startswith("gfn_gym.")]
    assert len(ours) <= (3 if algorithm is not agents.MunchausenDQN else 4)
    assert all(len(c.__bases__) == 1 for c in [algorithm, *ours])  # no mixins


class Normalized(Architecture):
    """Batch normalization, dropout, an encoding of two parts, heads of no usual kind."""

    def __init__(self, dag, width):
        super().__init__(dag)
        self.width, self.dropout = width, nn.Dropout(0.1)
        self.embedding, self.norm = nn.Embedding(dag.height, width), nn.BatchNorm1d(width)

    def encode(self, states):
        hidden = self.dropout(self.norm(self.embedding(states).sum(dim=1)).relu())
        return hidden, hidden.mean(dim=1, keepdim=True)

    def make_forward_head(self):
        return SumOfParts(self.width, self.n_actions)

    def make_backward_head(self):
        return SumOfParts(self.width, self.n_backward_actions)

    def make_value_head(self):
        return SumOfParts(self.width, 1)


class SumOfParts(nn.Module):
    def __init__(self, width, outputs):
        super().__init__()
        self.weight = nn.Parameter(th.randn(width, outputs) / width)

    def forward(self, encoding):
        hidden, mean = encoding
        return hidden @ self.weight + mean


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_batch_normalization_tuples_and_settings_without_defaults(algorithm, tmp_path):
    learnt = {"learnt_backward": True} if algorithm in LEARN_BACKWARD else {}
    model = algorithm(
        Normalized, GFNEnv(DAGS["grid"]), n_envs=16, train_freq=(32, "episode"), seed=0,
        policy_kwargs={"width": 4}, **learnt,
    )  # fmt: skip
    model.learn(total_trajectories=400)
    model.save(tmp_path / "model")
    loaded, states = (
        algorithm.load(tmp_path / "model", trusted=True),
        enumerate_graph(model.dag).states[:-1],
    )
    assert np.array_equal(loaded.policy.log_probs(states), model.policy.log_probs(states))
    copied = copy.deepcopy(model)
    assert np.array_equal(copied.policy.log_probs(states), model.policy.log_probs(states))
    if model.policy.target is not None:  # which has the statistics of what it follows
        for name, followed in model.policy.online.critic.named_buffers():
            assert model.policy.target.get_buffer(name).equal(followed), name
            assert followed.abs().sum() > 0, name
    if model.policy.backward_net is not None:
        for name, followed in model.policy.backward_net.named_buffers():
            assert model.backward.reward_network.get_buffer(name).equal(followed), name


# ---- bad architectures --------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [nn.Linear, 3, None])
def test_what_is_not_an_architecture_is_refused(policy):
    with pytest.raises(TypeError, match=r"policy=.* is not a subclass of gfn_gym\.agents\.Archit"):
        SoftDQN(policy, "HypergridGFN-v0")


def test_unknown_names_and_settings_are_refused():
    with pytest.raises(ValueError, match=r"policy='CnnPolicy' is not one of \['auto', 'MlpPolicy'"):
        SoftDQN("CnnPolicy", "HypergridGFN-v0")
    with pytest.raises(TypeError, match=r"policy_kwargs has \['widht'\], which MLP does not take"):
        SoftDQN("MlpPolicy", "HypergridGFN-v0", policy_kwargs={"widht": 3})
    for policy in ("MlpPolicy", "auto"):
        with pytest.raises(ValueError, match="env=None: give an environment"):
            SoftDQN(policy, None)


@pytest.mark.parametrize("shape", [(3, 1), (3,), (1, 3)])
@pytest.mark.parametrize("head", ["make_forward_head", "make_backward_head", "make_value_head"])
def test_numbers_of_the_wrong_shape_are_not_broadcast(head, shape, monkeypatch):
    class Wrong(nn.Module):
        def forward(self, encoding):
            return encoding.sum() + th.zeros(shape)

    monkeypatch.setattr(MLP, head, lambda self: Wrong())
    model = SoftDQN("MlpPolicy", GFNEnv(DAGS["grid"]), dueling=True, learnt_backward=True)
    states = th.ones(4, 2, dtype=th.int64)
    with pytest.raises(ValueError, match=r"the head Wrong gave numbers of shape .* was due"):
        if head == "make_backward_head":
            model.policy.backward_net(states, th.ones(4, 2, dtype=th.bool))
        else:
            model.q_net(states, th.ones(4, 3, dtype=th.bool))


@pytest.mark.parametrize(
    "name", ["dueling", "double", "huber", "importance_weights", "learnt_backward"]
)
def test_flags_are_true_or_false(name):
    with pytest.raises(TypeError, match=f"{name}='no' must be True or False"):
        SoftDQN("MlpPolicy", GFNEnv(DAGS["grid"]), **{name: "no"})


def test_networks_can_be_copied_without_the_dag():
    network = QNetwork(MLP(DAGS["grid"], [4]))
    assert not any(isinstance(value, Hypergrid) for value in vars(network.architecture).values())
    assert copy.deepcopy(network) is not network


def test_gymnasium_ids_and_environments_are_the_same():
    by_id = SoftDQN("MlpPolicy", "HypergridGFN-v0", seed=0)
    by_env = SoftDQN("MlpPolicy", gymnasium.make("HypergridGFN-v0"), seed=0)
    assert weights(by_id).equal(weights(by_env))


def test_the_product_with_one_hot_states_is_the_sum_of_rows():
    th.manual_seed(0)
    layer = OneHotLinear([3, 2] * 10, 5)
    assert layer.many_of_few_values
    assert not OneHotLinear([20] * 12, 5).many_of_few_values
    assert not OneHotLinear([2] * 11, 5).many_of_few_values
    states = th.stack([th.randint(0, 3 - i % 2, (7,)) for i in range(20)], dim=1)
    product = layer(states)
    product.square().sum().backward()
    gradient = layer.weight.grad.clone()
    layer.many_of_few_values, layer.weight.grad = False, None
    rows = layer(states)
    rows.square().sum().backward()
    assert th.allclose(product, rows, atol=1e-6)
    assert th.allclose(gradient, layer.weight.grad, atol=1e-5)


def test_ngrams_are_the_coordinates_and_a_number_for_each_window():
    layer = NGrams([3, 3, 2], 2)
    assert layer.nvec == [3, 3, 2, 9, 9]
    states = th.tensor([[0, 0, 0], [2, 1, 0], [1, 2, 0], [2, 1, 1]])
    numbers = layer(states)
    assert th.equal(numbers[:, :3], states)
    first, second = numbers[:, 3], numbers[:, 4]
    assert first[1] == first[3] and len(first.unique()) == 3  # by the first two coordinates alone
    assert len(second.unique()) == 4 and numbers.max() < 9


@pytest.mark.parametrize("ngram", [1, 2])
def test_one_layer_of_pairs_tells_pairs_from_single_tokens(ngram: int) -> None:
    """x1 XOR x2 is a sum over pairs and no sum over coordinates."""
    dag = Hypergrid(2, 2)
    network = MLP(dag, net_arch=[1], activation_fn=nn.Identity, ngram=ngram)
    states = th.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    optimizer = th.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(300):
        loss = (network.encode(states).squeeze(1) - th.tensor([0.0, 1.0, 1.0, 0.0])).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 1e-4 if ngram == 2 else loss > 0.2
