"""Exploration that keeps what was found, and changes nothing in what is learnt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from halfway import resumed_half_way

from dags import DAGS
from gfn_gym import DAG, GFNEnv
from gfn_gym.agents import (
    DetailedBalance,
    EntropicPPO,
    GFNVecEnv,
    SoftDQN,
    SubTrajectoryBalance,
    TrajectoryBalance,
    as_policy,
)
from gfn_gym.agents.exploration import ladder_of
from gfn_gym.agents.replay.object_pool import ObjectPool, trajectories_to
from gfn_gym.agents.replay.trajectory import transitions_of
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact, solve
from gfn_gym.mdp import MDP

GRID = Hypergrid(2, 4)


def pool_of(dag: DAG, size: int) -> ObjectPool:
    return ObjectPool(dag, size, np.random.default_rng(0))


def make(algorithm: Any = SoftDQN, dag: DAG = GRID, **kwargs: Any) -> Any:
    settings = {"replay_pool": 6, "policy_kwargs": {"net_arch": [16]}, "seed": 0, **kwargs}
    return algorithm("MlpPolicy", GFNEnv(dag), n_envs=4, train_freq=(4, "episode"), **settings)


# ---- the pool -----------------------------------------------------------------------------------


def test_the_best_stay_and_no_two_are_alike() -> None:
    pool = pool_of(GRID, 2)
    pool.add(np.array([[0, 0], [1, 1], [0, 0]]), np.array([1.0, 3.0, 2.0]))
    assert pool.states.tolist() == [[1, 1], [0, 0]] and pool.log_reward.tolist() == [3.0, 2.0]
    pool.add(np.array([[2, 2], [3, 3]]), np.array([1.5, 2.5]))  # the first is too bad
    assert pool.states.tolist() == [[1, 1], [3, 3]]


def test_a_full_pool_drops_what_is_crowded_before_what_is_worse() -> None:
    dag = BitSequence(16, 2, modes=["0" * 16, "1" * 16])
    dag.similar_distance = 2  # crowded: less than 3 bits from a better one
    best, good, alone = dag.parse(["0" * 16, "1" * 16, "0" * 8 + "1" * 8])[:, None]
    beside, apart = dag.parse(["1" * 14 + "00", "1" * 12 + "0" * 4])[:, None]  # of the good one
    for newcomer, left in ((beside, [-12.0, -10.0, 0.0]), (apart, [-11.0, -10.0, 0.0])):
        pool = pool_of(dag, 3)
        for state, reward in ((best, 0.0), (good, -10.0), (alone, -12.0), (newcomer, -11.0)):
            pool.add(state, np.array([reward]))
        assert sorted(pool.log_reward.tolist()) == left


def test_of_objects_that_are_alike_the_best_stays() -> None:
    dag = BitSequence(8, 2, modes=["00000000", "11111111"])
    dag.similar_distance = 3
    pool = pool_of(dag, 3)
    words = dag.parse(["00000011", "00000001", "11111111", "00011111"])
    pool.add(words[:1], np.array([-4.0]))
    pool.add(words[1:2], np.array([-2.0]))  # 1 bit from the first, and better
    assert dag.format(pool.states) == ["00000001"]
    pool.add(words[:1], np.array([-4.0]))
    assert len(pool) == 1
    pool.add(words[2:], np.array([0.0, -6.0]))  # they are 3 bits apart: not alike
    assert set(dag.format(pool.states)) == {"00000001", "11111111", "00011111"}


def test_a_better_object_replaces_all_that_are_like_it() -> None:
    dag = BitSequence(8, 2, modes=["00000000"])
    dag.similar_distance = 3
    pool = pool_of(dag, 5)
    pool.add(dag.parse(["00000111", "00011100"]), np.array([-3.0, -3.0]))
    assert len(pool) == 2
    pool.add(dag.parse(["00001110"]), np.array([-2.0]))  # 2 bits from either
    assert dag.format(pool.states) == ["00001110"]


def test_distances_of_bit_sequences_are_hamming() -> None:
    dag = BitSequence(8, 2, n_modes=1)
    words = dag.parse(["00000000", "11110000", "10101010"])
    assert dag.distances(words, words[:2]).tolist() == [[0, 4], [4, 0], [4, 4]]
    assert GRID.distances(np.array([[1, 2]]), np.array([[1, 2], [0, 2], [0, 0]])).tolist() == [
        [0, 1, 2]
    ]


# ---- trajectories to objects ------------------------------------------------------------------


@pytest.mark.parametrize("dag", [GRID, *DAGS.values()], ids=lambda dag: type(dag).__name__)
@pytest.mark.parametrize("potential", [None, lambda states: np.cos(states.sum(axis=1))])
def test_a_trajectory_to_an_object_is_one_that_could_be_walked(dag: DAG, potential: Any) -> None:
    mdp, generator = MDP(dag, potential=potential), np.random.default_rng(0)
    graph = solve(dag).graph
    objects = graph.states[graph.objects]
    log_reward = graph.log_reward()
    for trajectory, final, log_r in zip(
        trajectories_to(mdp, mdp, objects, log_reward, generator), objects, log_reward, strict=True
    ):
        states, actions, told = transitions_of(trajectory)
        walked = mdp.step(states.astype(objects.dtype), actions)
        assert (states[0] == dag.initial_states(1)[0]).all()
        assert (told.next_states[-1] == final).all() and told.done.tolist() == walked.done.tolist()
        assert (walked.next_states[:-1] == states[1:]).all()
        assert told.rewards == pytest.approx(walked.rewards, abs=1e-5)
        assert told.log_reward[-1] == pytest.approx(log_r)


def test_they_are_drawn_by_the_backward_policy() -> None:
    def mostly_the_first(states: Any) -> Any:
        mask = GRID.backward_mask(states)
        with np.errstate(divide="ignore"):
            weights = np.where(mask, [0.9, 0.1], 0.0)
            return np.log(weights / weights.sum(axis=1, keepdims=True))

    mdp = MDP(GRID, mostly_the_first)
    objects = np.tile([1, 1], (2_000, 1))
    drawn = trajectories_to(mdp, mdp, objects, np.zeros(2_000), np.random.default_rng(0))
    undone_last = [t.actions[1] for t in drawn]  # the last step except the stop
    assert np.mean(np.array(undone_last) == 0) == pytest.approx(0.9, abs=0.03)


# ---- agents -------------------------------------------------------------------------------------

LEARNING: dict[Any, dict[str, Any]] = {
    SoftDQN: {"learning_rate": 3e-3},
    TrajectoryBalance: {"learning_rate": 5e-3, "gradient_steps": 2},
    SubTrajectoryBalance: {"learning_rate": 5e-3, "gradient_steps": 2},
}


@pytest.mark.parametrize("algorithm", LEARNING)
def test_what_is_learnt_is_still_the_target(algorithm: Any) -> None:
    model = make(
        algorithm, replay_pool=4, local_search=0.3, exploration_ladder=(0.01, 0.3),
        **{**LEARNING[algorithm], "policy_kwargs": {"net_arch": [64, 64]}},
    ).learn(total_trajectories=4_000)  # fmt: skip
    assert evaluate_exact(model.dag, as_policy(model))["total_variation"] < 0.02
    assert len(model.exploration.pool) == 4


def test_every_object_counts_as_a_trajectory_and_replays_do_not() -> None:
    asked = []

    def log_reward(states: Any) -> Any:
        asked.append(len(states))
        return -states.sum(axis=1).astype(float)

    model = make(dag=Hypergrid(2, 4, reward=log_reward), local_search=0.5)
    asked.clear()
    model.learn(total_trajectories=200)
    # The first steps of an environment ask for some rewards twice, to see that they are the same.
    assert 200 <= model._episode_num <= sum(asked) <= model._episode_num + 16


def test_a_search_begins_at_a_part_of_a_pooled_object() -> None:
    model = make(dag=BitSequence(16, 2, n_modes=2), local_search=0.99, learning_starts=10_000)
    began = []
    begin_at = GFNVecEnv.begin_at

    class Watched(GFNVecEnv):
        def begin_at(self, rows: Any, starts: Any) -> None:
            begin_at(self, rows, starts)
            began.append((self.simulator.states[rows].copy(), model.exploration.pool.states))
            assert (self.simulator.mask[rows] == self.dag.action_mask(began[-1][0])).all()

    model.env.__class__ = Watched
    model.learn(total_trajectories=60)
    assert len(began) > 5
    empty = model.dag.empty
    for starts, pooled in began:
        for start in starts:
            filled = start != empty
            assert (~filled).sum() == 1
            assert (start[filled] == pooled[:, filled]).all(axis=1).any()


def test_what_a_search_has_built_is_replayed_in_any_order() -> None:
    # Eight words; a search redraws one, which comes last where it was built.
    dag = BitSequence(16, 2, n_modes=2)
    model = make(dag=dag, local_search=0.99, learning_starts=10_000)
    model.learn(total_trajectories=400)
    drawn = model.exploration.replay(model.mdp, model.mdp, True)
    rebuilt = drawn[400:]
    assert 300 < len(rebuilt) < 400
    pooled = model.exploration.pool.states
    last = [int(t.actions[-1]) // dag.n_words for t in rebuilt]
    assert set(last) == set(range(8))  # any position may be the last
    changed = [(t.final != pooled).sum(axis=1).min() for t in rebuilt]
    assert max(changed) > 0
    assert not model.exploration.replay(model.mdp, model.mdp, True)  # each once
    for t in rebuilt:
        assert t.log_reward == dag.log_reward(t.final[None].astype(np.int32))[0]


@pytest.mark.parametrize("algorithm", [DetailedBalance, SoftDQN])
def test_returns_and_lengths_are_those_of_whole_trajectories(algorithm: Any) -> None:
    model = make(algorithm, dag=BitSequence(8, 2, n_modes=2), local_search=0.9)
    model.learn(total_trajectories=60)
    assert {info["l"] for info in model.ep_info_buffer} == {4}
    least = model.dag.log_reward(model.dag.parse(["00000000"])) - 100
    assert all(info["r"] > least for info in model.ep_info_buffer)


@pytest.mark.parametrize("algorithm", [SoftDQN, TrajectoryBalance])
def test_a_checkpoint_has_the_pool_and_goes_on_alike(algorithm: Any, tmp_path: Any) -> None:
    kwargs: dict[str, Any] = {"local_search": 0.3, "exploration_ladder": (0.01, 0.5)}
    if algorithm is SoftDQN:
        kwargs |= {"learning_starts": 16, "batch_size": 16}
    whole = make(algorithm, **kwargs).learn(total_trajectories=80)
    resumed = resumed_half_way(make(algorithm, **kwargs), 80, tmp_path / "c.zip")
    states = solve(GRID).graph.states
    assert np.array_equal(resumed.policy.log_probs(states), whole.policy.log_probs(states))
    assert np.array_equal(resumed.exploration.pool.states, whole.exploration.pool.states)


def test_another_reward_empties_the_pool() -> None:
    model = make().learn(total_trajectories=40)
    assert len(model.exploration.pool)
    model.set_env(GFNEnv(Hypergrid(2, 4, reward="hard")))
    assert not len(model.exploration.pool)


def test_after_its_share_of_the_training_the_pool_rests() -> None:
    model = make(local_search=0.9, pool_fraction=0.5, learning_starts=10_000)
    model.learn(total_trajectories=200)
    exploration = model.exploration
    assert exploration.is_over and not exploration.searching.any()
    exploration.replay(model.mdp, model.mdp, True)  # what was rebuilt before
    exploration.finished = 5
    assert exploration.replay(model.mdp, model.mdp, True) == []

    began: list[bool] = []

    def look(*_: Any) -> bool:
        began.append(exploration.is_over)
        return True

    model.learn(total_trajectories=20, callback=look)
    assert not began[0] and began[-1]  # another training has a pool again


def test_without_them_nothing_changes() -> None:
    settings: dict[str, Any] = {"replay_pool": 0, "learning_starts": 16, "batch_size": 16}
    plain = make(**settings).learn(total_trajectories=80)
    off = make(
        **settings, exploration_ladder=None, local_search=0.0, pool_fraction=1.0,
        reward_annealing=None,
    ).learn(total_trajectories=80)  # fmt: skip
    assert plain.exploration is None and off.exploration is None
    states = solve(GRID).graph.states
    assert np.array_equal(plain.policy.log_probs(states), off.policy.log_probs(states))


def test_environments_that_start_anew_go_on_with_no_search() -> None:
    model = make(local_search=0.99, learning_starts=10_000).learn(total_trajectories=40)
    assert model.exploration.searching.any()
    model._begin_anew()  # as learn() does unless it goes on
    assert not model.exploration.searching.any()
    model.exploration.searching = np.ones(4, dtype=bool)
    model.set_env(GFNEnv(Hypergrid(2, 4)))  # made alike: the pool stays
    assert not model.exploration.searching.any() and len(model.exploration.pool)
    assert model.exploration.pool.dag is model.dag


# ---- the ladder ---------------------------------------------------------------------------------


def test_the_ladder_rises_in_equal_ratios() -> None:
    assert ladder_of((0.01, 1.0), 3).tolist() == pytest.approx([0.01, 0.1, 1.0])
    assert ladder_of((0.01, 0.2), 1).tolist() == [0.2]
    assert not ladder_of(None, 3).any()


def test_each_environment_explores_at_its_own_rate() -> None:
    def greedy(states: Any) -> Any:
        return np.zeros(len(states))

    model = make(
        dag=Hypergrid(1, 200, reward=greedy), replay_pool=0, exploration_ladder=(1e-9, 1.0)
    )
    with_stop = model.policy.online.head
    with_stop.weight.data.zero_()
    with_stop.bias.data.copy_(with_stop.bias.new_tensor([0.0, -100.0]))  # never stops by itself
    model.env.reset()
    lengths = np.zeros(4)
    for _ in range(50):
        actions, _ = model._sample_action(0, n_envs=4)
        lengths += model.env.step_states(actions)[0].done
    assert lengths[0] == 0 and lengths[3] > 10


# ---- bad arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"replay_pool": -1}, "replay_pool=-1 must be"),
        ({"replay_pool": 2.5}, "replay_pool=2.5 must be"),
        ({"local_search": 1.0}, "local_search=1.0 must be"),
        ({"replay_pool": 0, "local_search": 0.5}, "local_search=0.5 takes objects from a pool"),
        ({"exploration_ladder": 0.3}, r"exploration_ladder=0\.3 must be None or two"),
        ({"exploration_ladder": (0.0, 0.3)}, r"exploration_ladder\[0\]=0\.0 must be"),
        ({"exploration_ladder": (0.5, 0.3)}, r"exploration_ladder\[1\]=0\.3 must be"),
        ({"pool_fraction": 0.0}, "pool_fraction=0.0 must be"),
        (
            {"replay_pool": 0, "pool_fraction": 0.5},
            "pool_fraction=0.5 is the share of the training",
        ),
        ({"pool_fraction": 1.5}, "pool_fraction=1.5 must be"),
    ],
)
def test_bad_arguments_are_named(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make(**kwargs)


@pytest.mark.parametrize(
    "name", ["replay_pool", "local_search", "exploration_ladder", "pool_fraction"]
)
def test_entropic_ppo_says_why_it_has_none(name: str) -> None:
    with pytest.raises(TypeError, match=f"EntropicPPO has no '{name}': a policy gradient learns"):
        EntropicPPO("MlpPolicy", GFNEnv(GRID), **{name: 1})
