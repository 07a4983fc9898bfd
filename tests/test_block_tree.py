"""The graph policy over block trees: what its values depend on, and learning with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from block_sets import BLOCK_SETS, tilted
from gfn_gym import GFNEnv
from gfn_gym.agents import (
    EntropicPPO,
    FlowMatching,
    MunchausenDQN,
    SoftActorCritic,
    SoftDQN,
    SubTrajectoryBalance,
    TrajectoryBalance,
    as_policy,
    targets,
)
from gfn_gym.agents.architectures.block_tree import BlockTree
from gfn_gym.agents.architectures.packed_trees import pack_trees
from gfn_gym.agents.networks import BackwardNetwork, QNetwork
from gfn_gym.dag import States
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.envs.molecule.trees import Trees
from gfn_gym.evaluation import evaluate_exact
from gfn_gym.graph import enumerate_graph
from gfn_gym.mdp import sample_legal_actions

SMALL: dict[str, Any] = {"width": 16, "steps": 3}


@pytest.fixture(scope="module")
def ours() -> Molecule:
    """Our own vocabulary, up to six blocks."""
    return Molecule(reward=tilted, max_blocks=6)


def walks(dag: Molecule, n: int = 12) -> States:
    """All states on n random walks, the empty one once."""
    generator, states = np.random.default_rng(0), dag.initial_states(n)
    found = [states[:1]]
    while len(states):
        actions = sample_legal_actions(dag.action_mask(states), generator)
        states, done = dag.step(states, actions)
        found.append(states)
        states = states[~done]
    return np.unique(np.concatenate(found), axis=0)


def network(dag: Molecule, dueling: bool = False, temperature: float = 1.0) -> QNetwork:
    th.manual_seed(0)
    return QNetwork(BlockTree(dag, **SMALL), dueling, temperature)


def values(net: QNetwork, dag: Molecule, states: States) -> th.Tensor:
    mask = th.from_numpy(dag.action_mask(states))
    with th.no_grad():
        return net(th.from_numpy(states.astype(np.int64)), mask)


# ---- what the values depend on ----------------------------------------------------------------


def relabelled(dag: Molecule, state: States, generator: np.random.Generator) -> Any:
    """Another row (d,) of the same tree, from another root, and where each node went, (k,)."""
    trees = Trees.of(state[None].astype(np.int64), dag.max_blocks)
    block, parent, parent_slot, own_slot = (
        getattr(trees, name)[0] for name in ("block", "parent", "parent_slot", "own_slot")
    )
    k = int((block < dag.vocabulary.n_blocks).sum())
    bonds = [(i, int(parent[i]), int(own_slot[i]), int(parent_slot[i])) for i in range(1, k)]
    bonds += [(p, i, upper, lower) for i, p, lower, upper in bonds]
    goes = generator.permutation(k)
    new = Trees.of(dag.initial_states(1).astype(np.int64), dag.max_blocks)
    new.block[0, goes], new.open[0, goes] = block[:k], trees.open[0, :k]
    reached = [int(np.argmin(goes))]  # the node that becomes number 0
    for node in reached:
        for below, above, lower, upper in bonds:
            if above == node and below not in reached:
                reached.append(below)
                place = 0, goes[below]
                new.parent[place], new.own_slot[place] = goes[above], lower
                new.parent_slot[place] = upper
    return new.rows()[0], goes


def stems_of(dag: Molecule, row: States) -> list[tuple[int, int]]:
    """Node and slot of each open stem, in the order of the actions."""
    counts = row[4 * dag.max_blocks :]
    return [
        divmod(int(p), dag.vocabulary.n_slots) for p in np.repeat(np.arange(len(counts)), counts)
    ]


@pytest.mark.parametrize("dueling", [False, True])
def test_the_order_of_the_nodes_and_the_root_do_not_matter(ours: Molecule, dueling: bool) -> None:
    generator, net, n_moved = np.random.default_rng(0), network(ours, dueling=dueling), 0
    for state in walks(ours)[::3]:
        row, goes = relabelled(ours, state, generator)
        n_moved += int((goes != np.arange(len(goes))).any())
        q, again = values(net, ours, np.stack([state, row])).double()
        n_stems = int(ours.action_mask(state[None])[0, 1:].sum()) // ours.vocabulary.n_entries
        if len(goes):
            new = stems_of(ours, row)
            place = [new.index((int(goes[node]), slot)) for node, slot in stems_of(ours, state)]
        else:
            place = [0]
        by_stem = again[1:].view(ours.max_stems, -1)
        assert float(again[0]) == pytest.approx(float(q[0]), abs=1e-4)
        for stem in range(n_stems):
            expected = q[1:].view(ours.max_stems, -1)[stem].tolist()
            assert by_stem[place[stem]].tolist() == pytest.approx(expected, abs=1e-4)
    assert n_moved > 10


def test_the_backward_network_rates_nodes_whatever_their_numbers(ours: Molecule) -> None:
    th.manual_seed(0)
    net, generator = BackwardNetwork(BlockTree(ours, **SMALL)), np.random.default_rng(0)
    spread = []
    everything = th.ones(2, ours.max_blocks, dtype=th.bool)
    for state in walks(ours)[::3]:
        row, goes = relabelled(ours, state, generator)
        pair = th.from_numpy(np.stack([state, row]).astype(np.int64))
        logits, again = net(pair, everything).detach()
        np.testing.assert_allclose(again[goes], logits[: len(goes)], atol=1e-4)
        spread += [float(logits[: len(goes)].std())] if len(goes) > 1 else []
    assert max(spread) > 0.05
    states = walks(ours)
    mask = th.from_numpy(ours.backward_mask(states))
    logits = net(th.from_numpy(states.astype(np.int64)), mask)
    assert (logits.isfinite() == mask).all()


def test_every_part_of_the_tree_matters(ours: Molecule) -> None:
    states = walks(ours)
    mask = th.ones(1, ours.n_actions, dtype=th.bool)
    tensor = th.from_numpy(states.astype(np.int64))
    n, slots = ours.max_blocks, ours.vocabulary.n_slots
    net = network(ours)
    stop = th.cat([net(row[None], mask)[:, 0] for row in tensor])
    assert len(np.unique(stop.detach().numpy().round(6))) == len(states)  # of all of them

    full = tensor[int(((tensor[:, :n] < ours.vocabulary.n_blocks).sum(1)).argmax())]
    for field in (n + 2, 2 * n + 1, 3 * n + 1, 4 * n, 0):  # the parent of node 2, slots, …
        changed = full.clone()
        changed[field] = (changed[field] + 1) % (slots if field >= 2 * n else 2)
        assert not th.allclose(net(changed[None], mask)[:, 0], net(full[None], mask)[:, 0])


def test_illegal_actions_have_no_value(ours: Molecule) -> None:
    states = walks(ours)
    q = values(network(ours), ours, states)
    assert (th.isfinite(q).numpy() == ours.action_mask(states)).all()


@pytest.mark.parametrize("dueling", [False, True])
def test_full_trees_may_have_more_open_stems_than_can_be_chosen(dueling: bool) -> None:
    dag = Molecule([["N", [0, 0, 0]], ["P", [0, 0, 0]]], tilted, max_blocks=3)
    states = enumerate_graph(dag).states
    full = dag.trees(states).open.sum(axis=(1, 2)) > dag.max_stems
    assert full.sum() > 3
    net, order = network(dag, dueling=dueling), np.argsort(~full, kind="stable")
    together = values(net, dag, states[order])
    assert (th.isfinite(together).numpy() == dag.action_mask(states[order])).all()
    assert th.isfinite(values(net, dag, states[order[::-1]])[-1, 0])  # a full tree as the last one
    for q, row in zip(together, order, strict=True):
        alone = values(net, dag, states[row : row + 1])[0]
        assert q.tolist() == pytest.approx(alone.tolist(), abs=1e-5)


def test_a_mask_within_a_stem_is_kept(ours: Molecule) -> None:
    # As a subclass may have it that forbids some blocks beside others.
    states = walks(ours)
    mask = th.from_numpy(ours.action_mask(states))
    mask[:, 1::3] = False
    tensor = th.from_numpy(states.astype(np.int64))
    for dueling in (False, True):
        net = network(ours, dueling=dueling)
        q = net(tensor, mask)
        some = mask.any(1)
        assert (th.isfinite(q) == mask).all()
        value = net.soft_value(tensor, mask)
        assert th.allclose(value[some], targets.soft_value(q)[some], atol=1e-4)


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 1.5])
def test_values_of_single_actions_and_their_gradient(
    ours: Molecule, dueling: bool, temperature: float
) -> None:
    states = walks(ours)
    generator, masks = np.random.default_rng(1), ours.action_mask(states)
    tensors = [
        th.from_numpy(array.astype(dtype))
        for array, dtype in (
            (states, np.int64), (masks, bool), (sample_legal_actions(masks, generator), np.int64)
        )
    ]  # fmt: skip
    net = network(ours, dueling=dueling, temperature=temperature)
    q = net(*tensors[:2])
    dense = q.gather(1, tensors[2][:, None]).squeeze(1)
    single = net.of_actions(*tensors)
    assert single.tolist() == pytest.approx(dense.tolist(), abs=1e-4)
    value = targets.soft_value(q, temperature)
    assert th.allclose(net.soft_value(*tensors[:2]), value, atol=1e-4)
    log_policy = targets.munchausen_log_policy(q, tensors[2], temperature)
    assert th.allclose(net.scaled_log_policy(*tensors), log_policy, atol=1e-4)
    for one, other in zip(
        th.autograd.grad(dense.sum(), list(net.parameters()), allow_unused=True),
        th.autograd.grad(single.sum(), list(net.parameters()), allow_unused=True),
        strict=True,
    ):
        assert one is not None
        other = th.zeros_like(one) if other is None else other
        assert th.isfinite(other).all()
        assert th.allclose(one, other, atol=1e-3)


def test_packed_trees(ours: Molecule) -> None:
    states = walks(ours)
    packed = pack_trees(th.from_numpy(states.astype(np.int64)), 6, ours.vocabulary.n_blocks)
    sizes = (states[:, :6] < ours.vocabulary.n_blocks).sum(1)
    assert th.bincount(packed.row).tolist() == np.maximum(sizes, 1).tolist()  # s0 has one as well
    n, blocks = len(states), states[:, :6]
    assert packed.row[:n].tolist() == list(range(n))
    assert packed.place[:n].tolist() == [0] * n
    rows, places = packed.row[n:].numpy(), packed.place[n:].numpy()
    taken = np.argwhere(blocks < ours.vocabulary.n_blocks)
    assert np.stack([rows, places], axis=1).tolist() == taken[taken[:, 1] > 0].tolist()
    assert (packed.block[n:].numpy() == blocks[rows, places]).all()
    assert (packed.row[packed.parent].numpy() == rows).all()
    assert (packed.place[packed.parent].numpy() == states[rows, 6 + places]).all()
    node, _ = ours.stems(states)
    here = (node >= 0).sum(1)
    growing = (sizes > 0) & (sizes < 6)
    counts = th.bincount(packed.stem_row, minlength=len(states)).numpy()
    assert counts[growing].tolist() == here[growing].tolist()
    assert counts[sizes == 0].tolist() == [1]
    rows, ranks = packed.stem_row.numpy(), packed.stem_rank.numpy()
    inside = growing[rows]
    place = packed.place[packed.stem_node].numpy()
    assert (node[rows[inside], ranks[inside]] == place[inside]).all()


def plainly(network: BlockTree, row: States) -> list[th.Tensor]:
    """The vectors of one tree's nodes, step by step and node by node, as the formulas say."""
    n, slots = network.max_blocks, network.n_atoms // (network.n_blocks + 1)
    blocks, parents, upper, lower = row[: 4 * n].reshape(4, n)
    opened = row[4 * n :].reshape(n, slots).copy()
    size = int((blocks < network.n_blocks).sum())
    opened[0, 0] += size == 0
    nodes = [network.block[blocks[i]] for i in range(max(size, 1))]
    for i, node in enumerate(nodes):
        for slot in np.repeat(np.arange(slots), opened[i]):
            node = node + network.open[blocks[i] * slots + slot]
        nodes[i] = node
    bonds = []
    for i in range(1, size):
        own, above = blocks[i] * slots + lower[i], blocks[parents[i]] * slots + upper[i]
        bonds.append((i, parents[i], network.bond_from[own] + network.bond_to[above]))
        bonds.append((parents[i], i, network.bond_from[above] + network.bond_to[own]))
    for step in network.steps:
        read, new = [step.norm(node) for node in nodes], []
        for i, node in enumerate(nodes):
            told = th.zeros_like(node)
            for begin, end, bond in bonds:
                if end == i:
                    told = told + th.relu(step.message(read[begin]) + bond)
            update = th.relu(step.own(read[i]) + step.received(told))
            new.append(node + step.join(update))
        nodes = new
    return [network.norm(node) for node in nodes]


def test_messages_and_their_gradients_are_those_of_the_formulas(ours: Molecule) -> None:
    th.manual_seed(0)
    net, states = BlockTree(ours, **SMALL).double(), walks(ours)[::7]
    with th.no_grad():  # norms that start as nothing would hide what they do
        for parameter in net.parameters():
            parameter.add_(0.1 * th.randn_like(parameter))
    for chosen in (states, states[:1]):  # several trees, and the empty one alone
        encoded = net.encode(th.from_numpy(chosen.astype(np.int64)))
        places = list(zip(encoded.packed.row.tolist(), encoded.packed.place.tolist(), strict=True))
        found = [plainly(net, row) for row in chosen]
        expected = th.stack([found[row][place] for row, place in places])
        th.testing.assert_close(encoded.nodes, expected, rtol=1e-10, atol=1e-10)
        weights = th.randn_like(expected)  # so that each number's gradient counts
        (weights * encoded.nodes).sum().backward()
        of_formulas = th.autograd.grad(
            (weights * expected).sum(), net.parameters(), allow_unused=True
        )
        for parameter, gradient in zip(net.parameters(), of_formulas, strict=True):
            gradient = th.zeros_like(parameter) if gradient is None else gradient
            th.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-9)
            parameter.grad = None
        with th.no_grad():  # which takes a path of its own
            again = net.encode(th.from_numpy(chosen.astype(np.int64))).nodes
        assert (again == encoded.nodes).all()


# ---- as a policy ------------------------------------------------------------------------------


THRICE = {"learning_rate": 1e-2, "gradient_steps": 3}
REPLAY = {"batch_size": 64, "learning_starts": 200, "buffer_size": 4_000, "train_freq": 1}
FAST = {**REPLAY, "preset": "fast", "learning_rate": LinearSchedule(3e-3, 3e-5, 1.0)}


@pytest.mark.parametrize(
    ("algorithm", "kwargs"),
    [
        (SoftDQN, FAST),
        (MunchausenDQN, {**FAST, "learnt_backward": True}),
        (SoftActorCritic, {**REPLAY, "learning_rate": 3e-3, "q_learning_rate": 3e-3}),
        (EntropicPPO, {"learning_rate": 5e-3}),
        (
            SubTrajectoryBalance,
            {"learning_rate": 1e-2, "gradient_steps": 3, "learnt_backward": True},
        ),
    ],
)
def test_learns_small_molecules(algorithm: Any, kwargs: dict[str, Any]) -> None:
    dag = Molecule(BLOCK_SETS["opposite"], tilted, min_blocks=1, max_blocks=3)
    model = algorithm(
        "SmallBlockTreePolicy", GFNEnv(dag), seed=0, device="cpu", n_envs=16,
        policy_kwargs={"width": 32, "steps": 2}, **kwargs,
    )  # fmt: skip
    before = evaluate_exact(dag, as_policy(model))["total_variation"]
    model.learn(total_timesteps=16 * (250 if "preset" in kwargs else 130))
    after = evaluate_exact(dag, as_policy(model))
    assert before > 0.25
    assert after["total_variation"] < 0.05
    assert abs(after["log_z_error"]) < 0.1


@pytest.mark.parametrize("algorithm", [EntropicPPO, SoftActorCritic, TrajectoryBalance])
def test_agents_of_every_kind_learn_small_molecules(algorithm: Any, tmp_path: Path) -> None:
    dag = Molecule(BLOCK_SETS["directed"], tilted, min_blocks=1, max_blocks=3)
    model = algorithm(
        "SmallBlockTreePolicy", GFNEnv(dag), learning_rate=5e-3, seed=0, device="cpu", n_envs=16,
        policy_kwargs={"width": 16, "steps": 2},
    )  # fmt: skip
    before = evaluate_exact(dag, as_policy(model))["total_variation"]
    # SoftActorCritic has had 59 updates after 1,200: too few, whatever the seed.
    model.learn(total_trajectories=2_400 if algorithm is SoftActorCritic else 1_200)
    after = evaluate_exact(dag, as_policy(model))["total_variation"]
    assert after < 0.06 < before
    model.save(tmp_path / "model.zip")
    again = as_policy(algorithm.load(tmp_path / "model.zip", device="cpu", trusted=True))
    assert evaluate_exact(dag, again)["total_variation"] == after


def test_another_vocabulary_of_the_same_size_is_refused(tmp_path: Path) -> None:
    env, other = (GFNEnv(Molecule([[s, [0, 0]]], tilted, max_blocks=3)) for s in "NC")
    SoftDQN("SmallBlockTreePolicy", env, device="cpu").save(tmp_path / "model.zip")
    SoftDQN.load(tmp_path / "model.zip", env=env, device="cpu")
    with pytest.raises(ValueError, match="states and actions must be the same"):
        SoftDQN.load(tmp_path / "model.zip", env=other, device="cpu")


def test_environments_that_were_stepped_already_are_one_batch() -> None:
    env = DummyVecEnv([lambda: GFNEnv(Molecule(BLOCK_SETS["ring"], tilted, max_blocks=3))] * 2)
    env.reset()
    env.step(np.array([1, 2]))
    assert SoftDQN("SmallBlockTreePolicy", env, device="cpu").n_envs == 2


def test_predicts_and_loads(tmp_path: Path) -> None:
    dag = Molecule(BLOCK_SETS["ring"], tilted, max_blocks=4)
    model = SoftDQN("SmallBlockTreePolicy", GFNEnv(dag), seed=0, device="cpu", n_envs=4)
    model.learn(40)
    model.save(tmp_path / "model.zip")
    again = SoftDQN.load(tmp_path / "model.zip", device="cpu", trusted=True)
    states = walks(dag)
    assert (again.policy.log_probs(states) == model.policy.log_probs(states)).all()
    observation, _ = GFNEnv(dag).reset()
    action, _ = again.predict(observation)
    assert dag.action_mask(dag.initial_states(1))[0, action]


def test_sizes_by_name() -> None:
    dag = Molecule(BLOCK_SETS["ring"], tilted, max_blocks=4)
    sizes = {
        name: SoftDQN(name, GFNEnv(dag), device="cpu").q_net.architecture
        for name in ("BlockTreePolicy", "SmallBlockTreePolicy")
    }
    assert len(sizes["BlockTreePolicy"].steps) == 10
    assert sizes["BlockTreePolicy"].block.shape[1] == 256
    assert len(sizes["SmallBlockTreePolicy"].steps) < 10


def test_what_does_not_fit_is_refused(ours: Molecule) -> None:
    with pytest.raises(TypeError, match=r"BlockTreePolicy reads block trees, .*Hypergrid"):
        SoftDQN("BlockTreePolicy", GFNEnv(Hypergrid(ndim=2, height=4)), device="cpu")
    with pytest.raises(ValueError, match="steps=0 must be an integer of at least 1"):
        BlockTree(ours, steps=0)


@pytest.mark.parametrize(
    ("algorithm", "kwargs"),
    [(SoftDQN, {"learnt_backward": True}), (FlowMatching, {})],
    ids=["stops only", "ends only"],
)
def test_a_round_of_one_transition_learns(algorithm: Any, kwargs: dict[str, Any]) -> None:
    """No edge, or no state that goes on, may be left for a network to look at."""
    dag = Molecule(BLOCK_SETS["opposite"], tilted, min_blocks=1, max_blocks=3)
    model = algorithm(
        "SmallBlockTreePolicy", GFNEnv(dag), n_envs=1, train_freq=1, learning_starts=1,
        batch_size=1, seed=0, device="cpu", policy_kwargs={"width": 8, "steps": 1}, **kwargs,
    )  # fmt: skip
    model.learn(60)
    assert np.isfinite(model.policy.log_flow(dag.initial_states(1))).all()
