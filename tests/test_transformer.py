"""The transformer policy: its network by hand, legal actions, learning, saving, memory."""

from __future__ import annotations

import math
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.utils import LinearSchedule

from dags import Words
from gfn_gym import GFNEnv
from gfn_gym.agents import MunchausenDQN, SoftDQN, as_policy, targets
from gfn_gym.agents.architectures.base import DenseValues
from gfn_gym.agents.architectures.transformer import (
    EncoderLayer,
    Transformer,
    add_dropped,
    dropout,
)
from gfn_gym.agents.networks import QNetwork
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact, log_likelihood

SMALL: dict[str, Any] = {"layers": 2, "heads": 2, "width": 16, "feed_forward": 16}
ALGORITHMS = pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])


def some_states(dag: BitSequence, n: int = 30) -> tuple[th.Tensor, th.Tensor]:
    """States at all depths, and their masks."""
    generator = np.random.default_rng(0)
    states = generator.integers(0, dag.n_words, (n, dag.n_positions)).astype(np.int32)
    states[generator.random(states.shape) < np.linspace(0.05, 1, n)[:, None]] = dag.empty
    states = states[dag.action_mask(states).any(axis=1)]
    return th.from_numpy(states.astype(np.int64)), th.from_numpy(dag.action_mask(states))


@pytest.mark.parametrize("norm_first", [False, True])
def test_layer_is_torchs(norm_first: bool) -> None:
    th.manual_seed(0)
    ours = EncoderLayer(16, 4, 24, 0.1, norm_first).eval()
    theirs = th.nn.TransformerEncoderLayer(
        16, 4, 24, 0.1, batch_first=True, norm_first=norm_first
    ).eval()
    attention = theirs.self_attn
    for ours_, theirs_ in (
        (th.cat([ours.query.weight, ours.key_value.weight]), attention.in_proj_weight),
        (th.cat([ours.query.bias, ours.key_value.bias]), attention.in_proj_bias),
    ):
        theirs_.data.copy_(ours_)
    for module, their_module in (
        (ours.join, attention.out_proj),
        (ours.up, theirs.linear1),
        (ours.down, theirs.linear2),
        (ours.norm_attention, theirs.norm1),
        (ours.norm_feed_forward, theirs.norm2),
    ):
        their_module.load_state_dict(module.state_dict())
    tokens = th.randn(3, 7, 16)
    assert th.allclose(ours(tokens), theirs(tokens), atol=1e-6)
    wanted = th.tensor([[0, 2], [6, 0], [3, 4]])
    rows = th.arange(3)[:, None]
    assert th.allclose(ours(tokens, wanted), theirs(tokens)[rows, wanted], atol=1e-6)


def test_dropout() -> None:
    th.manual_seed(0)
    x = th.ones(999, 1001, requires_grad=True)
    dropped = dropout(x, 0.1)
    values = dropped.detach().unique()
    assert values.tolist() == pytest.approx([0.0, 1 / 0.9])
    zeros = (dropped == 0).double()
    assert zeros.mean().item() == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 1e6))
    assert zeros.mean(dim=0).var().item() == pytest.approx(0.09 / 999, rel=0.2)
    dropped.sum().backward()
    assert x.grad is not None and th.equal(x.grad, dropped.detach())
    assert dropout(x, 0.0) is x


def test_add_dropped() -> None:
    x, y = th.full((50, 60), 2.0), th.ones(50, 60, requires_grad=True)
    th.manual_seed(0)
    expected = x + dropout(y, 0.3)
    th.manual_seed(0)
    found = add_dropped(x, y, 0.3)
    assert th.allclose(found, expected) and len(found.unique()) == 2
    found.sum().backward()
    assert y.grad is not None and th.allclose(y.grad, found.detach() - 2)
    assert th.equal(add_dropped(x, y, 0.0), x + y)


@pytest.mark.parametrize("dueling", [False, True])
def test_q_is_position_plus_word_where_legal(dueling: bool) -> None:
    dag = BitSequence(8, 2)
    network = QNetwork(Transformer(dag, **SMALL), dueling, temperature=1.3).eval()
    states, mask = some_states(dag)
    q = network(states, mask)
    assert q.shape == (len(states), 16) and th.equal(q > -th.inf, mask)
    tokens, head = network.architecture.encode(states), network.head
    positions, words = head.position(tokens[:, 0]), head.word(tokens[:, 1:])
    expected = (positions[:, :, None] + words).flatten(1).masked_fill(~mask, -th.inf)
    if dueling:
        value_head = network.value_head
        value = (tokens[:, 0] @ value_head.weight.T + value_head.bias).squeeze(1)
        assert th.allclose(targets.soft_value(q, 1.3), value, atol=1e-5)
        expected = targets.dueling(value, expected, 1.3)
    assert th.allclose(q, expected)


@pytest.mark.parametrize("dueling", [False, True])
def test_q_of_single_actions_and_its_gradient(dueling: bool) -> None:
    dag = BitSequence(12, 3, modes=["0" * 12])
    network = QNetwork(Transformer(dag, **SMALL), dueling).eval()
    states, mask = some_states(dag)
    actions = th.multinomial(mask.float(), 1)
    gradients = []
    for q in (
        network(states, mask).gather(1, actions).squeeze(1),
        network.of_actions(states, mask, actions.squeeze(1)),
    ):
        network.zero_grad()
        q.square().sum().backward()
        gradients.append([q.detach(), *(p.grad.clone() for p in network.parameters())])
    for full, single in zip(*gradients, strict=True):
        assert th.allclose(full, single, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 1.3])
@pytest.mark.parametrize("every_word", [True, False])
def test_values_by_position_are_those_of_the_matrix(temperature: float, every_word: bool) -> None:
    """Soft values and single ones, and their gradients; also where not every word is legal."""
    dag = BitSequence(12, 3, modes=["0" * 12])
    network = QNetwork(Transformer(dag, **SMALL), temperature=temperature).eval()
    states, mask = some_states(dag)
    if not every_word:
        mask[::2, ::3] = False
    network.architecture.requires_grad_(False)
    tokens = network.architecture.encode(states).requires_grad_()
    actions = th.multinomial(mask.float(), 1).squeeze(1)
    head = network.head
    q = (head.position(tokens[:, 0])[:, :, None] + head.word(tokens[:, 1:])).flatten(1)
    gradients = []
    for values in (
        DenseValues(q.masked_fill(~mask, -th.inf)),
        network.architecture.action_values(head, tokens, mask),
    ):
        tokens.grad = None
        network.zero_grad()
        soft, single = values.soft_value(temperature), values.of_actions(actions)
        (soft.square() + single).sum().backward()
        of_head = [p.grad.clone() for p in head.parameters()]
        gradients.append([values.dense(), soft, single, tokens.grad.clone(), *of_head])
    for plain, found in zip(*gradients, strict=True):
        assert th.allclose(plain, found, atol=1e-4, rtol=1e-4)


def test_soft_value_where_nothing_is_legal() -> None:
    dag = BitSequence(8, 2)
    network = QNetwork(Transformer(dag, **SMALL)).eval()
    states = th.tensor([[0, 1, 2, 3], [0, 1, 2, 4]])
    value = network.soft_value(states, th.from_numpy(dag.action_mask(states.numpy())))
    assert value[0] == -th.inf and value[1].isfinite()
    value[1].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_order_of_positions_matters() -> None:
    dag = BitSequence(8, 4)
    for learnt in (False, True):
        network = QNetwork(Transformer(dag, **SMALL, learnt_positions=learnt)).eval()
        q = network(th.tensor([[3, 5], [5, 3]]), th.ones(2, 32, dtype=th.bool))
        assert not th.allclose(q[0], q[1].view(2, 16).flip(0).flatten(), atol=1e-3)


def test_dags_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TypeError, match=r"d·W actions and no stop action; Hypergrid\(ndim=2"):
        SoftDQN("TransformerPolicy", GFNEnv(Hypergrid(2, 4)))
    with pytest.raises(ValueError, match="width=20 must be even and a multiple of heads=8"):
        Transformer(BitSequence(8, 2), width=20)
    SoftDQN("TransformerPolicy", GFNEnv(Words(3, 2)), policy_kwargs=SMALL)


@pytest.mark.parametrize(
    ("argument", "value", "rule"),
    [
        ("layers", 0, "an integer of at least 1"),
        ("heads", 0, "an integer of at least 1"),
        ("width", "8", "an integer of at least 1"),
        ("feed_forward", -4, "an integer of at least 1"),
        ("dropout", 1.0, "a finite number of at least 0 and below 1"),
        ("dropout", -0.1, "a finite number of at least 0 and below 1"),
        ("dropout", math.nan, "a finite number of at least 0 and below 1"),
    ],
)
def test_sizes_out_of_range_are_refused(argument: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=f"{argument}={value!r} must .*{rule}"):
        Transformer(BitSequence(8, 2), **{argument: value})


def test_sizes_of_the_paper() -> None:
    model = SoftDQN("TransformerPolicy", "gfn_gym:BitSequenceGFN-v0", preset="paper")
    network = model.q_net.architecture
    assert isinstance(network, Transformer) and len(network.encoder) == 3
    layer = network.encoder[0]
    assert isinstance(layer, EncoderLayer)
    assert (layer.heads, layer.dropout, layer.norm_first) == (8, 0.1, False)
    assert layer.up.weight.shape == (64, 64) and network.embedding.weight.shape == (257, 64)
    assert not isinstance(network.encoding, th.nn.Parameter)


@ALGORITHMS
def test_predict_save_load_resume(algorithm: Any, tmp_path: Path) -> None:
    env = GFNEnv(BitSequence(8, 2, n_modes=3))
    model = algorithm(
        "TransformerPolicy", env, preset="paper", seed=1, learning_starts=64, batch_size=32,
        policy_kwargs=SMALL,
    ).learn(2_000)  # fmt: skip
    observation, _ = env.reset()
    for _ in range(4):
        action, _ = model.predict(observation)
        observation, *_ = env.step(action)
    model.save(tmp_path / "model.zip")
    loaded = algorithm.load(tmp_path / "model.zip")
    states = some_states(BitSequence(8, 2))[0].numpy()
    assert np.array_equal(as_policy(loaded)(states), as_policy(model)(states))
    model.save_checkpoint(tmp_path / "checkpoint.zip")
    resumed = algorithm.resume(tmp_path / "checkpoint.zip")
    for continued in (model, resumed):  # dropout draws from torch's generator
        th.manual_seed(5)
        continued._resumed = False
        continued.learn(400, reset_num_timesteps=False)
    assert np.array_equal(as_policy(resumed)(states), as_policy(model)(states))


@ALGORITHMS
def test_learns_bit_sequences(algorithm: Any) -> None:
    dag = BitSequence(8, 4, n_modes=3, seed=2)
    model = algorithm(
        "TransformerPolicy", GFNEnv(dag), preset="paper", seed=0, n_envs=16,
        learning_rate=LinearSchedule(5e-3, 1e-4, 1.0), learning_starts=256, batch_size=128,
        train_freq=(4, "episode"),
        policy_kwargs={**SMALL, "dropout": 0.0, "learnt_positions": True, "norm_first": True},
    ).learn(7_000)  # fmt: skip
    found = evaluate_exact(dag, as_policy(model))
    assert found["total_variation"] < 0.05


def test_likelihood_by_backward_samples_against_the_exact_one() -> None:
    """Of a policy of no particular merit, in two ways: all actions, and single ones."""
    dag = BitSequence(8, 2, n_modes=3)
    model = SoftDQN("TransformerPolicy", GFNEnv(dag), seed=0, policy_kwargs=SMALL)
    policy = as_policy(model)
    objects = np.random.default_rng(0).integers(0, 4, (40, 4))
    exact = log_likelihood(dag, policy, objects)
    assert exact.exact.all()
    for asked in (policy, lambda states: policy(states)):
        found = log_likelihood(dag, asked, objects, n_samples=200, max_ancestors=0)
        assert not found.exact.any()
        errors = (found.log_prob - exact.log_prob) / found.standard_error
        assert np.abs(errors).max() < 5 and errors.std() < 1.5


MEMORY = """
import resource, numpy as np, torch
torch.set_num_threads(1)
from gfn_gym.agents import SoftDQN
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym import GFNEnv
model = SoftDQN("TransformerPolicy", GFNEnv(BitSequence(120, 10)), preset="paper", n_envs=16)
buffer = model.replay_buffer
for array in buffer._arrays.values():
    array[:] = 0  # all of its memory, as when it is full
buffer.tree.leaves[:] = 0
model.learn(total_trajectories=832)
assert model._n_updates >= 2
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_thousand_words_train_in_little_memory() -> None:
    """k = 10, 12,288 actions, the paper's buffer of 100,000: under 1.5 GB resident."""
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0  # Linux counts in KiB
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1_500_000
