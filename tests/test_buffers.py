"""The sum tree and the replay buffer."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from dags import Words
from gfn_gym import DAG, MDP, GFNEnv
from gfn_gym.agents import SoftDQN
from gfn_gym.agents.replay.sum_tree import SumTree
from gfn_gym.agents.replay.transition_buffer import TransitionBuffer
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.mdp import Transition, sample_legal_actions

# ---- sum tree -------------------------------------------------------------------------------


def find_by_brute_force(weights: Any, points: Any) -> Any:
    return np.searchsorted(np.cumsum(weights), points, side="right")


@pytest.mark.parametrize("capacity", [1, 63, 64, 65, 5000])
def test_sum_tree_agrees_with_brute_force_through_many_updates(capacity: int) -> None:
    generator = np.random.default_rng(capacity)
    tree, weights = SumTree(capacity), np.zeros(capacity)
    for _ in range(200):
        indices = generator.integers(capacity, size=generator.integers(1, 50))
        values = generator.integers(0, 5, size=len(indices)).astype(float)
        values[0] += 1  # something is positive
        values[:] = values[np.unique(indices, return_inverse=True)[1]]  # equal where repeated
        tree.set(indices, values)
        weights[indices] = values
        assert tree.total == weights.sum()
        points = generator.random(20) * tree.total
        assert (tree.find(points) == find_by_brute_force(weights, points)).all()
    assert (tree.leaves[:capacity] == weights).all() and not tree.leaves[capacity:].any()


def test_sum_tree_never_finds_a_leaf_of_weight_zero() -> None:
    """At the borders of the stretches, where rounding decides."""
    generator = np.random.default_rng(0)
    for _ in range(300):
        weights = generator.random(150) * 10.0 ** generator.uniform(-8, 2, size=150)
        weights[generator.random(150) < 0.6] = 0
        tree = SumTree(150)
        tree.set(np.arange(150), weights)
        borders = np.concatenate([[0.0], np.cumsum(weights)])
        points = np.concatenate([borders, np.nextafter(borders, 0), np.nextafter(borders, 1e9)])
        found = tree.find(points[(points >= 0) & (points < tree.total)])
        assert (weights[found] > 0).all()


def test_sum_tree_does_not_drift() -> None:
    tree = SumTree(200)
    generator = np.random.default_rng(0)
    for _ in range(1000):
        tree.set(generator.integers(200, size=30), 10.0 ** generator.uniform(-8, 8, size=30))
    tree.set(np.arange(200), np.full(200, 1e-6))
    assert tree.total == pytest.approx(200e-6, rel=1e-12)


# ---- replay buffer --------------------------------------------------------------------------


def make_buffer(
    size: int, n_envs: int = 1, alpha: float = 0.0, dag: DAG | None = None
) -> TransitionBuffer:
    dag = Hypergrid(2, 8) if dag is None else dag
    return TransitionBuffer(dag, size, n_envs, "cpu", alpha, np.random.default_rng(0))


def transition_to(next_states: Any, log_reward: Any, done: Any = False) -> Transition:
    n = len(next_states)
    return Transition(
        np.array(next_states, dtype=np.int32),
        np.full(n, done),
        np.zeros(n),
        np.full(n, log_reward, dtype=np.float64),
    )


def fill(buffer: TransitionBuffer, priorities: Any) -> None:
    """One transition each, told apart by its log R: 0, 1, 2, …"""
    for number, priority in enumerate(priorities):
        add_one(buffer, number, priority)


def add_one(buffer: TransitionBuffer, number: float, priority: float | None = None) -> None:
    index = np.array([buffer.pos])
    buffer.add(np.zeros((1, 2), int), np.zeros(1, int), transition_to([[1, 0]], number))
    if priority is not None:
        buffer.update_priorities(index, np.array([priority]))


def frequencies(buffer: TransitionBuffer, batch_size: int, draws: int) -> Any:
    counts = np.zeros(buffer.size())
    for _ in range(draws // batch_size):
        np.add.at(counts, buffer.sample(batch_size).indices, 1)
    return counts


def chi_square(counts: Any, probabilities: Any) -> float:
    expected = counts.sum() * probabilities
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_sampling_is_in_proportion_to_priorities_to_the_alpha(alpha: float) -> None:
    priorities = np.array([1.0, 4.0, 9.0, 16.0, 0.25, 2.0])
    buffer = make_buffer(6, alpha=alpha)
    fill(buffer, priorities)
    expected = priorities**alpha / (priorities**alpha).sum()
    # Batches of one are independent draws: χ² with 5 degrees of freedom is below 20.5 in 99.9 %.
    counts = frequencies(buffer, 1, 20_000)
    assert chi_square(counts, expected) < 20.5
    assert (
        chi_square(counts, priorities ** (1.5 - alpha) / (priorities ** (1.5 - alpha)).sum()) > 99
    )


def test_strata_make_every_batch_representative() -> None:
    buffer = make_buffer(4, alpha=1.0)
    fill(buffer, [1.0, 1.0, 2.0, 4.0])
    for _ in range(50):
        counts = np.bincount(buffer.sample(8).indices, minlength=4)
        assert np.abs(counts - [1, 1, 2, 4]).max() <= 1  # 1e-6 is added to priorities


def test_uniform_mode_draws_uniformly_and_has_no_priorities() -> None:
    buffer = make_buffer(8)
    fill(buffer, [1.0, 100.0, None, 5.0, 1.0])
    counts = frequencies(buffer, 100, 20_000)
    assert chi_square(counts, np.full(5, 0.2)) < 18.5  # 99.9 % of χ² with 4 degrees of freedom
    buffer.update_priorities(np.arange(5), np.arange(5.0))
    assert buffer.tree is None and (buffer.sample(4, beta=1.0).weights == 1).all()


def test_importance_weights_by_hand() -> None:
    buffer = make_buffer(3, alpha=1.0)
    fill(buffer, [2.0, 4.0, 8.0])
    batch = buffer.sample(64, beta=0.5)
    assert set(batch.indices) == {0, 1, 2}
    # (N·P(i))^−β / max = (p_i/p_min)^−β = 1, 2^−½, 4^−½
    expected = np.array([1.0, 0.5**0.5, 0.5])[batch.indices]
    np.testing.assert_allclose(batch.weights.numpy(), expected, rtol=1e-5)
    assert (buffer.sample(64, beta=0.0).weights == 1).all()


def test_ring_overwrites_the_oldest_and_its_priority() -> None:
    buffer = make_buffer(4, alpha=1.0)
    fill(buffer, [1.0, 1.0, 1.0, 1.0])
    assert buffer.size() == 4 and buffer.full and buffer.pos == 0
    add_one(buffer, 9.0, 0.0)
    add_one(buffer, 8.0, 1.0)
    assert buffer.size() == 4
    drawn = buffer.sample(300)
    assert set(drawn.log_reward.tolist()) == {8.0, 2.0, 3.0}  # 9.0 has priority 0


def test_size_is_rounded_down_to_whole_steps_of_the_batch() -> None:
    buffer = make_buffer(10, n_envs=4)
    for _ in range(2):
        buffer.add(np.zeros((4, 2), int), np.zeros(4, int), transition_to([[1, 0]] * 4, 0.0))
    assert buffer.size() == 8 and buffer.full and buffer.pos == 0
    with pytest.raises(ValueError, match="buffer_size=3 must be at least n_envs=4"):
        make_buffer(3, n_envs=4)


def test_new_transitions_get_the_largest_priority_so_far() -> None:
    buffer = make_buffer(2000, alpha=1.0)
    fill(buffer, [None] * 1000)
    assert buffer.tree is not None
    np.testing.assert_allclose(buffer.tree.leaves[:1000], 1.0, atol=2e-6)  # and doesn't creep up
    buffer.update_priorities(np.array([3]), np.array([7.0]))
    buffer.update_priorities(np.array([3]), np.array([0.5]))
    fill(buffer, [None])
    assert buffer.tree.leaves[1000] == pytest.approx(7.0, abs=2e-6)


def test_what_is_new_is_in_the_ring_once_however_much_was_added() -> None:
    """Nobody takes what is new while ``learning_starts`` is longer than the ring."""
    buffer = make_buffer(6, n_envs=2)
    for number in range(8):  # over the three steps that it holds, more than twice
        buffer.add(np.zeros((2, 2), int), np.zeros(2, int), transition_to([[1, 0]] * 2, number))
    new = buffer.take_new()
    assert sorted(new.tolist()) == list(range(6))
    assert buffer.batch_at(new).log_reward.tolist() == [5, 5, 6, 6, 7, 7]  # oldest first
    assert not len(buffer.take_new())


def test_a_reset_forgets_the_largest_priority() -> None:
    buffer = make_buffer(4, alpha=1.0)
    fill(buffer, [1.0, 9.0])
    buffer.reset()
    assert buffer.size() == 0 and not len(buffer.take_new()) and buffer.max_priority == 1.0
    fill(buffer, [1.0, None])  # the second one has the largest priority since
    batch = buffer.sample(64, beta=1.0)
    assert set(batch.indices) == {0, 1}
    np.testing.assert_allclose(batch.weights, 1.0, atol=1e-5)


def test_new_transitions_get_their_own_td_error() -> None:
    model = SoftDQN(
        "MlpPolicy", "gfn_gym:HypergridGFN-v0", n_envs=8, new_priority="td_error",
        replay_alpha=0.5, leaf_weight=3.0, learning_starts=10**6, seed=0,
    )  # fmt: skip
    model.learn(400)
    buffer, n = model.replay_buffer, model.replay_buffer.size()
    model.train(gradient_steps=0)  # rates what no update has seen
    batch = buffer.batch_at(np.arange(n))
    error = model._td_error(batch).detach().abs().numpy()  # no update has changed the networks
    priorities = np.where(batch.dones, 3.0, 1.0) * error + 1e-6
    assert batch.dones.sum() > 10
    np.testing.assert_allclose(buffer.tree.leaves[:n], priorities**0.5, rtol=1e-3)


@pytest.mark.parametrize(
    ("height", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (70_000, np.uint32)]
)
def test_states_are_stored_in_the_smallest_type_that_holds_them(height: int, dtype: Any) -> None:
    buffer = make_buffer(4, dag=Hypergrid(2, height))
    top = np.full((1, 2), height - 1)
    buffer.add(top, np.array([2]), transition_to(top, 0.0, True))
    stored = buffer.state_dict()["arrays"]
    assert stored["states"].dtype == stored["next_states"].dtype == dtype
    batch = buffer.sample(1)
    assert batch.states.tolist() == batch.next_states.tolist() == top.tolist()
    assert batch.masks.tolist() == [[False, False, True]]


@pytest.mark.parametrize("dag", [Hypergrid(3, 4), Words()], ids=["hypergrid", "words"])
def test_sampled_masks_and_rewards_are_those_of_the_dag(dag: DAG) -> None:
    mdp, generator = MDP(dag), np.random.default_rng(0)
    buffer, states = make_buffer(300, n_envs=10, dag=dag), dag.initial_states(10)
    for _ in range(30):
        actions = sample_legal_actions(dag.action_mask(states), generator)
        transition = mdp.step(states, actions)
        buffer.add(states, actions, transition)
        states = np.where(transition.done[:, None], dag.initial_states(10), transition.next_states)
    batch = buffer.sample(500)
    assert batch.dones.any() and not batch.dones.all()
    states = batch.states.numpy()
    assert (batch.masks.numpy() == dag.action_mask(states)).all()
    assert (batch.next_masks.numpy() == dag.action_mask(batch.next_states.numpy())).all()
    again = mdp.step(states, batch.actions.numpy())
    assert (batch.next_states.numpy() == again.next_states).all()
    assert (batch.dones.numpy() == again.done).all()
    np.testing.assert_allclose(batch.rewards.numpy(), again.rewards, rtol=1e-6)
    np.testing.assert_allclose(batch.log_reward.numpy(), again.log_reward, rtol=1e-6)


def test_memory_does_not_grow_with_the_number_of_actions() -> None:
    few, many = make_buffer(10_000, dag=Words(3, 2)), make_buffer(10_000, dag=Words(3, 250))
    assert few.dag.n_actions == 6 and many.dag.n_actions == 750
    data = 10_000 * (3 + 3 + 4 + 4 + 4 + 4 + 1)
    sizes = [len(pickle.dumps(buffer)) for buffer in (few, many)]
    assert all(data < size < data + 5000 for size in sizes) and sizes[1] < sizes[0] + 1000


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("added", [3, 9])
def test_state_dict_round_trip(alpha: float, added: int) -> None:
    original, copy = make_buffer(6, alpha=alpha), make_buffer(6, alpha=alpha)
    fill(original, np.arange(1.0, added + 1))
    copy.load_state_dict(pickle.loads(pickle.dumps(original.state_dict())))
    assert (copy.size(), copy.pos, copy.full) == (original.size(), original.pos, original.full)
    assert copy.max_priority == original.max_priority
    for buffer in (original, copy):
        buffer.generator = np.random.default_rng(1)
    for _ in range(3):
        a, b = original.sample(16, beta=0.5), copy.sample(16, beta=0.5)
        assert (a.indices == b.indices).all() and (a.weights == b.weights).all()
        assert a.rewards.equal(b.rewards)
        fill(original, [2.0])
        fill(copy, [2.0])


def test_sampling_from_an_empty_buffer_is_refused() -> None:
    with pytest.raises(ValueError, match="replay buffer is empty"):
        make_buffer(4).sample(2)


def test_beta_is_annealed_over_the_training() -> None:
    model = SoftDQN(
        "MlpPolicy", GFNEnv(Hypergrid(2, 4)), importance_weights=True, replay_beta=0.2,
        replay_beta_final=0.8,
    )  # fmt: skip
    betas = []
    for remaining in (1.0, 0.5, 0.0):
        model._current_progress_remaining = remaining
        betas.append(model._beta())
    assert betas == pytest.approx([0.2, 0.5, 0.8])
    model.importance_weights = False
    assert model._beta() == 0
