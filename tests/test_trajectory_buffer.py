"""Trajectories put together from transitions, and handed out."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy

from dags import DAGS
from gfn_gym import DAG, MDP, GFNEnv
from gfn_gym.agents import DetailedBalance, EntropicPPO, GFNVecEnv, TrajectoryBalance
from gfn_gym.agents.replay.trajectory_buffer import Trajectory, TrajectoryBatch, TrajectoryBuffer
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.mdp import sample_legal_actions

ALL_DAGS: dict[str, DAG] = {**DAGS, "long": Hypergrid(2, 30), "reward": Hypergrid(2, 4, "hard")}


def buffer_of(dag: DAG, capacity: int = 0, n_envs: int = 1) -> TrajectoryBuffer:
    return TrajectoryBuffer(dag, capacity, n_envs, "cpu", np.random.default_rng(0))


def fill(buffer: TrajectoryBuffer, steps: int, seed: int = 0) -> list[list[tuple[Any, ...]]]:
    """Walk at random, avoiding the stop; return the finished walks as lists of edges."""
    env, generator = GFNVecEnv(MDP(buffer.dag), buffer.n_envs), np.random.default_rng(seed)
    walks: list[list[tuple[Any, ...]]] = [[] for _ in range(buffer.n_envs)]
    finished = []
    for _ in range(steps):
        states = env.simulator.states.copy()
        actions = sample_legal_actions(env.simulator.mask, generator)
        if buffer.dag.stop_action is not None:
            again = sample_legal_actions(env.simulator.mask, generator)
            late = (actions == buffer.dag.stop_action) & (generator.random(len(actions)) < 0.9)
            actions = np.where(late, again, actions)
        transition, _ = env.step_states(actions)
        buffer.add(states, actions, transition)
        for row in range(buffer.n_envs):
            edge = (states[row], actions[row], transition, row)
            walks[row].append(edge)
            if transition.done[row]:
                finished.append(walks[row])
                walks[row] = []
    return finished


def same(found: Trajectory, walk: list[tuple[Any, ...]]) -> bool:
    last, row = walk[-1][2], walk[-1][3]
    return (
        np.array_equal(found.states, [state for state, *_ in walk])
        and np.array_equal(found.actions, [action for _, action, *_ in walk])
        and np.allclose(found.log_backward, [edge.log_backward[i] for *_, edge, i in walk])
        and found.log_reward == last.log_reward[row]
        and np.array_equal(found.final, last.next_states[row])
    )


@pytest.mark.parametrize("name", ALL_DAGS)
def test_trajectories_are_the_walks_of_each_environment(name: str) -> None:
    buffer = buffer_of(ALL_DAGS[name], n_envs=5)
    walks = fill(buffer, 150)
    found = buffer.take_new()
    assert len(found) == len(walks) >= 10
    assert all(same(*pair) for pair in zip(found, walks, strict=True))
    if name == "long":
        assert max(len(walk) for walk in walks) > 32  # longer than the arrays at first
    assert found[0].states.dtype == np.uint8 and not buffer.take_new()


@pytest.mark.parametrize("name", ALL_DAGS)
def test_a_batch_is_their_edges_one_after_another(name: str) -> None:
    dag = ALL_DAGS[name]
    buffer = buffer_of(dag, n_envs=5)
    fill(buffer, 60)
    taken = buffer.take_new()
    batch: TrajectoryBatch = buffer.batch(taken, learnt_backward=True)
    states = batch.states.numpy().astype(dag.state_space.dtype)
    transition = MDP(dag).step(states, batch.actions.numpy())
    assert np.array_equal(batch.masks, dag.action_mask(states))
    np.testing.assert_allclose(batch.rewards, transition.rewards, rtol=1e-6)
    np.testing.assert_allclose(batch.log_reward, transition.log_reward, rtol=1e-6)
    assert np.array_equal(batch.dones, transition.done)
    assert batch.lengths.tolist() == [len(trajectory.actions) for trajectory in taken]
    assert np.array_equal(batch.trajectories, np.repeat(np.arange(len(taken)), batch.lengths))
    assert batch.backward is not None and batch.backward.n == len(states)
    steps = batch.backward.rows.numpy()
    assert np.array_equal(batch.backward.next_states, transition.next_states[steps])
    padded = batch.padded(batch.rewards)
    assert padded.shape == (len(taken), int(batch.lengths.max()))
    for row, length in zip(padded, batch.lengths, strict=True):
        assert not row[length:].any()
    assert padded[1, : batch.lengths[1]].equal(batch.rewards[batch.trajectories == 1])


def test_new_ones_are_handed_out_once_oldest_first() -> None:
    buffer = buffer_of(DAGS["words"], n_envs=4)
    walks = fill(buffer, 9)  # of length 3
    assert len(walks) == 12
    first, second, third = buffer.take_new(5), buffer.take_new(5), buffer.take_new(5)
    assert [len(part) for part in (first, second, third)] == [5, 5, 2]
    found = [*first, *second, *third]
    assert all(same(*pair) for pair in zip(found, walks, strict=True))


def test_the_latest_are_kept_and_drawn_uniformly() -> None:
    buffer = buffer_of(DAGS["words"], capacity=6, n_envs=2)
    assert buffer.sample(3) == []
    walks = fill(buffer, 30)
    assert all(same(*pair) for pair in zip(buffer.kept, walks[-6:], strict=True))
    kept = [trajectory.states.__array_interface__["data"] for trajectory in buffer.kept]
    drawn = [trajectory.states.__array_interface__["data"] for trajectory in buffer.sample(6000)]
    counts = np.bincount([kept.index(place) for place in drawn], minlength=6)
    assert counts.min() > 880 and counts.max() < 1120  # 1000 ± 4σ
    assert len(buffer.take_new()) == 20  # whatever was drawn
    nothing_kept = buffer_of(DAGS["words"], n_envs=2)
    fill(nothing_kept, 30)
    assert nothing_kept.sample(3) == []


@pytest.mark.parametrize("longest", [None, 59])
def test_the_memory_of_what_is_kept_is_bounded(
    longest: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many have passed, it is that of the arrays, and no trajectory has any of its own."""
    dag = Hypergrid(2, 30)
    monkeypatch.setattr(dag, "max_trajectory_length", lambda: longest)
    buffer = buffer_of(dag, capacity=8, n_envs=5)
    fill(buffer, 600)
    size, arrays = buffer.kept.nbytes, buffer.kept.actions
    assert len(buffer.kept) == 8 and 16 < len(arrays[0]) <= (longest or 118)
    assert len(fill(buffer, 600, seed=1)) > 50
    assert len(buffer.kept) == 8
    assert buffer.kept.nbytes == size and buffer.kept.actions is arrays
    assert all(np.shares_memory(each.states, buffer.kept.states) for each in buffer.sample(50))


def test_kept_trajectories_outlive_the_lengthening_of_their_arrays() -> None:
    buffer = buffer_of(ALL_DAGS["long"], capacity=30, n_envs=5)
    walks = fill(buffer, 150)
    assert len(walks) > 30 and max(map(len, walks[-30:])) > 16
    assert all(same(*pair) for pair in zip(buffer.kept, walks[-30:], strict=True))


def test_a_state_goes_on_where_it_was_saved() -> None:
    """In the middle of walks longer than the arrays of a new buffer."""
    dag = ALL_DAGS["long"]
    whole, first, second = (buffer_of(dag, capacity=3, n_envs=5) for _ in range(3))
    fill(whole, 60)
    env, generator = GFNVecEnv(MDP(dag), 5), np.random.default_rng(1)

    def step(buffer: TrajectoryBuffer) -> None:
        mask = env.simulator.mask.copy()
        mask[:, -1] = ~mask[:, :-1].any(axis=1)  # stop at the far corner only
        states, actions = env.simulator.states.copy(), sample_legal_actions(mask, generator)
        buffer.add(states, actions, env.step_states(actions)[0])

    for _ in range(100):
        step(first)
    assert first._lengths.min() > 16 and len(first.new) == 5
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    for _ in range(30):
        step(second)
    assert len(second.new) == 10 and len(second.kept) == 3
    for trajectory in second.new:
        assert len(trajectory.actions) == 59 and trajectory.states.sum(axis=1).tolist() == list(
            range(59)
        )


def test_forgetting() -> None:
    buffer = buffer_of(DAGS["words"], capacity=6, n_envs=2)
    fill(buffer, 4)
    buffer.forget_new()
    assert not buffer.new and len(buffer.kept) == 2 and not buffer._lengths.any()
    buffer.reset()
    assert not len(buffer.kept)
    assert len(fill(buffer, 3)) == len(buffer.take_new()) == 2


def test_it_is_pickled_without_the_dag() -> None:
    buffer = buffer_of(Hypergrid(2, 4, reward=lambda states: states.sum(axis=1) / 3), capacity=5)
    fill(buffer, 40)
    again = pickle.loads(pickle.dumps(buffer))
    assert not hasattr(again, "dag") and len(again.kept) == 5


# ---- environments that are reset from outside -----------------------------------------------


def is_whole(dag: DAG, trajectory: Trajectory) -> bool:
    """Whether each state is what the actions before it lead to, from s0 to the end."""
    states, done = dag.initial_states(1), np.array([False])
    for state, action in zip(trajectory.states, trajectory.actions, strict=True):
        if done[0] or (state != states[0]).any():
            return False
        states, done = dag.step(states, np.array([action]))
    return bool(done[0]) and bool((states[0] == trajectory.final).all())


def test_walks_broken_from_outside_are_left_out() -> None:
    """Rows: goes on; is reset; is set to another walk's middle, which is seen to its end only."""
    dag = Hypergrid(2, 6)
    buffer, mdp = buffer_of(dag, n_envs=3), MDP(dag)

    def add(states: list[list[int]], actions: list[int]) -> None:
        rows = np.array(states, dtype=dag.state_space.dtype)
        buffer.add(rows, np.array(actions), mdp.step(rows, np.array(actions)))

    add([[0, 0], [0, 0], [0, 0]], [0, 0, 0])
    add([[1, 0], [0, 0], [3, 3]], [1, 1, 1])
    add([[1, 1], [0, 1], [3, 4]], [0, 2, 2])
    add([[2, 1], [0, 0], [0, 0]], [2, 2, 2])
    found = buffer.take_new()
    assert [walk.actions.tolist() for walk in found] == [[1, 2], [0, 1, 0, 2], [2], [2]]
    assert all(is_whole(dag, walk) for walk in found)


@pytest.mark.parametrize("learnt_backward", [False, True])
@pytest.mark.parametrize("algorithm", [TrajectoryBalance, DetailedBalance, EntropicPPO])
def test_an_evaluation_on_the_training_environment_breaks_no_trajectory(
    algorithm: Any, learnt_backward: bool, tmp_path: Path
) -> None:
    model = algorithm(
        "MlpPolicy", GFNEnv(Hypergrid(2, 6)), n_envs=7, seed=0, learnt_backward=learnt_backward,
        policy_kwargs={"net_arch": [8]},
    )  # fmt: skip
    seen: list[Trajectory] = []

    def watch() -> None:
        batch = model.replay_buffer.batch

        def seeing(trajectories: list[Trajectory], *others: Any) -> TrajectoryBatch:
            seen.extend(trajectories)
            found: TrajectoryBatch = batch(trajectories, *others)
            return found

        model.replay_buffer.batch = seeing

    model.learn(total_trajectories=50)
    model.save_replay_buffer(tmp_path / "buffer")
    evaluate_policy(model, model.get_env(), n_eval_episodes=5)
    watch()
    model.learn(total_trajectories=40, reset_num_timesteps=False)
    model.load_replay_buffer(tmp_path / "buffer")  # of which some walks are under way
    watch()
    model.learn(total_trajectories=40, reset_num_timesteps=False)
    assert len(seen) > 50 and all(is_whole(model.dag, walk) for walk in seen)
