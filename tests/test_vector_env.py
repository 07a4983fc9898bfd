"""The native batch does, step by step, what Gymnasium's SyncVectorEnv of singles does."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import gfn_gym
from dags import DAGS, Words
from gfn_gym import MDP, GFNEnv, GFNVectorEnv
from gfn_gym.env import Simulator
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.mdp import sample_legal_actions

N = 5
MODES = {"NextStep": AutoresetMode.NEXT_STEP, "SameStep": AutoresetMode.SAME_STEP}
BOTH = {"hypergrid": Hypergrid(3, 4), "one word": Words(1, 3), **DAGS}


def assert_same(ours, theirs):
    """Equal in structure, dtype, shape and value."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert set(ours) == set(theirs)
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif ours is not None:
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if ours.dtype == object:
            for a, b in zip(ours, theirs, strict=True):
                assert_same(a, b)
        else:
            assert np.array_equal(ours, theirs)


def pair(dag, mode, **kwargs):
    ours = GFNVectorEnv(dag, N, autoreset_mode=mode, **kwargs)
    theirs = SyncVectorEnv([lambda: GFNEnv(dag, **kwargs)] * N, autoreset_mode=mode)
    return ours, theirs


@pytest.mark.parametrize("observation", ["onehot", "state"])
@pytest.mark.parametrize("mode", [*MODES, *MODES.values()], ids=str)
@pytest.mark.parametrize("name", BOTH)
def test_agrees_with_singles(name, mode, observation):
    ours, theirs = pair(BOTH[name], mode, observation=observation)
    assert (ours.observation_space, ours.action_space) == (
        theirs.observation_space,
        theirs.action_space,
    )
    (observations, infos), expected = ours.reset(seed=3), theirs.reset(seed=3)
    assert_same(observations, expected[0])
    assert_same(infos, expected[1])
    generator, ends = np.random.default_rng(0), 0
    ended = np.zeros(N, dtype=bool)
    for _ in range(60):
        assert np.array_equal(ours.action_masks(), infos["action_mask"].astype(bool))
        actions = sample_legal_actions(infos["action_mask"], generator)
        if ours.autoreset_mode is AutoresetMode.NEXT_STEP:
            actions[ended] = 999  # ignored there
        step, expected = ours.step(actions), theirs.step(actions)
        for a, b in zip(step, expected, strict=True):
            assert_same(a, b)
        assert step[0] in ours.observation_space
        infos, ended = step[-1], step[2]
        ends += ended.sum()
        assert ("final_obs" in infos) == (ours.autoreset_mode.name == "SAME_STEP" and step[2].any())
    assert ends > N


@pytest.mark.parametrize("observation", ["onehot", "state"])
@pytest.mark.parametrize("mode", ["Disabled", AutoresetMode.DISABLED], ids=str)
@pytest.mark.parametrize("name", BOTH)
def test_agrees_without_autoreset(name, mode, observation):
    ours, theirs = pair(BOTH[name], mode, observation=observation)
    (_, infos), _ = ours.reset(), theirs.reset()
    generator, resets = np.random.default_rng(1), 0
    for _ in range(60):
        actions = sample_legal_actions(infos["action_mask"], generator)
        step, expected = ours.step(actions), theirs.step(actions)
        for a, b in zip(step, expected, strict=True):
            assert_same(a, b)
        infos, ended = step[-1], step[2]
        if ended.any():
            resets += 1
            options = {"reset_mask": ended}
            before = infos["action_mask"]
            observations, infos = ours.reset(options=options)
            expected = theirs.reset(options={"reset_mask": ended.copy()})
            assert options["reset_mask"] is ended, "the options are the caller's"
            assert_same(observations, expected[0])
            # Sync leaves the other rows' masks at zero; ours are true for all.
            assert infos["_action_mask"].all()
            assert np.array_equal(infos["action_mask"][ended], expected[1]["action_mask"][ended])
            assert np.array_equal(infos["action_mask"][~ended], before[~ended])
    assert resets > 3


@pytest.mark.parametrize("mode", list(MODES))
def test_terminating_variant_agrees(mode):
    ours, theirs = pair(Hypergrid(2, 3), mode, invalid_action="terminate", invalid_reward=-7.0)
    ours.reset(), theirs.reset()
    generator, punished = np.random.default_rng(2), 0
    for _ in range(80):
        actions = generator.integers(0, 3, N)  # now and then one that is illegal
        step, expected = ours.step(actions), theirs.step(actions)
        for a, b in zip(step, expected, strict=True):
            assert_same(a, b)
        punished += (step[1] == -7.0).sum()
        assert step[2][step[1] == -7.0].all()
    assert punished > 3


@pytest.mark.parametrize("observation", ["onehot", "state"])
@pytest.mark.parametrize("mode", [*MODES, "Disabled"])
@pytest.mark.parametrize("name", ["hypergrid", "words"])
def test_arrays_handed_out_are_never_written_again(name, mode, observation):
    env = GFNVectorEnv(BOTH[name], N, autoreset_mode=mode, observation=observation)
    given, infos = [env.reset()], env.reset()[1]
    copies = copy.deepcopy(given)
    generator = np.random.default_rng(0)
    for _ in range(25):
        step = env.step(sample_legal_actions(infos["action_mask"], generator))
        given.append(step)
        copies.append(copy.deepcopy(step))
        infos = step[-1]
        if mode == "Disabled" and step[2].any():
            given.append(env.reset(options={"reset_mask": step[2]}))
            copies.append(copy.deepcopy(given[-1]))
            infos = given[-1][1]
    for now, then in zip(given, copies, strict=True):
        for a, b in zip(now, then, strict=True):
            assert_same(a, b)


def test_writing_into_what_was_handed_out_changes_nothing():
    ours, theirs = pair(Hypergrid(3, 4), "NextStep", observation="state")
    (observations, infos), _ = ours.reset(), theirs.reset()
    generator = np.random.default_rng(0)
    for _ in range(30):
        actions = sample_legal_actions(infos["action_mask"], generator)
        observations[:], infos["action_mask"][:] = 0, 1
        observations, rewards, ended, truncated, infos = ours.step(actions)
        for a, b in zip(
            (observations, rewards, ended, truncated, infos), theirs.step(actions), strict=True
        ):
            assert_same(a, b)
        kept = infos["action_mask"].copy()
        rewards[:], ended[:], truncated[:] = 9.0, True, True
        infos = {"action_mask": kept}


def test_a_transition_outlives_the_restart():
    """The agents store its next states after the simulator has gone on."""
    dag = Hypergrid(2, 4)
    simulator = Simulator(MDP(dag), 3)
    simulator.step(np.array([0, 1, 0]))
    simulator.finish_step()
    transition = simulator.step(np.array([2, 1, 0]))
    simulator.finish_step(transition.done)
    assert simulator.states.tolist() == [[0, 0], [0, 2], [2, 0]]
    simulator.restart(np.array([False, True, False]))
    assert transition.next_states.tolist() == [[1, 0], [0, 2], [2, 0]]
    assert simulator.states.tolist() == [[0, 0], [0, 0], [2, 0]]
    assert np.array_equal(simulator.mask, dag.action_mask(simulator.states))


def test_a_mask_keeps_a_bit_at_the_end():
    env = GFNVectorEnv(DAGS["words"], 2, autoreset_mode="SameStep")
    _, infos = env.reset()
    for _ in range(DAGS["words"].length):
        infos = env.step(sample_legal_actions(infos["action_mask"], np.random.default_rng(0)))[-1]
    assert infos["final_info"]["action_mask"].tolist() == [[1, 0, 0, 0, 0, 0]] * 2
    assert infos["action_mask"].all()


@pytest.mark.parametrize(
    "id",
    [
        "HypergridGFN-v0",
        "HypergridGFN-Hard-v0",
        "HypergridGFN-Terminate-v0",
        "HypergridGFN-Hard-Terminate-v0",
    ],
)
@pytest.mark.parametrize("mode", [*MODES.values(), "Disabled"], ids=str)
def test_make_vec(id, mode):
    env = gymnasium.make_vec(
        id, num_envs=3, vectorization_mode="vector_entry_point", autoreset_mode=mode, ndim=2
    )
    assert isinstance(env, GFNVectorEnv) and env.spec.id == id
    assert (env.num_envs, env.dag.ndim, env.dag.height) == (3, 2, 20)
    assert env.metadata["autoreset_mode"] is env.autoreset_mode is AutoresetMode(mode)
    assert env.metadata["render_modes"] == ["ansi", "rgb_array"]
    observations, infos = env.reset(seed=0)
    assert (observations.dtype, observations.shape) == (np.float32, (3, 40))
    assert (infos["action_mask"].dtype, infos["action_mask"].shape) == (np.int8, (3, 3))
    _, rewards, ended, truncated, _ = env.step(env.action_space.sample() * 0)
    assert (rewards.dtype, ended.dtype, truncated.dtype) == (np.float64, bool, bool)
    assert not truncated.any()
    env.close()


def test_make_vec_takes_the_native_batch_by_default():
    env = gymnasium.make_vec("HypergridGFN-v0", num_envs=2)
    assert isinstance(env, GFNVectorEnv) and env.autoreset_mode is AutoresetMode.NEXT_STEP


def test_ordinary_vectorisation_works_too():
    env = gymnasium.make_vec("HypergridGFN-v0", num_envs=2, vectorization_mode="sync", ndim=2)
    assert env.reset()[1]["action_mask"].shape == (2, 3)
    env.close()


def test_seeds():
    env = GFNVectorEnv(Hypergrid(), 2)
    env.reset(seed=5)
    drawn = env.np_random.random()
    env.reset(seed=[5, 6])
    assert env.np_random.random() == drawn
    with pytest.raises(ValueError, match=r"seed.*2"):
        env.reset(seed=[5])


@pytest.mark.parametrize("invalid", [{"num_envs": 0}, {"num_envs": -1}])
def test_too_few_environments(invalid):
    with pytest.raises(ValueError, match="num_envs"):
        GFNVectorEnv(Hypergrid(), **invalid)


def test_bad_arguments():
    dag = Hypergrid()
    for kwargs, message in (
        ({"autoreset_mode": "Sometimes"}, "Sometimes"),
        ({"observation": "image"}, "observation='image' is unknown.*onehot.*state"),
        ({"invalid_action": "ignore"}, "invalid_action='ignore' must be"),
        ({"invalid_reward": -np.inf}, "invalid_reward=-inf must be a finite number"),
        ({"render_mode": "human"}, "render_mode='human' is not one of"),
    ):
        with pytest.raises(ValueError, match=message):
            GFNVectorEnv(dag, 2, **kwargs)


def test_illegal_actions_raise_and_leave_the_batch_as_it_was():
    env = GFNVectorEnv(Hypergrid(2, 2), 3)
    env.reset()
    env.step(np.array([0, 1, 0]))
    before = env.simulator.states.copy()
    message = r"action 1 is illegal in state \[0, 1\] of Hypergrid\(.*legal are \[0, 2\]"
    with pytest.raises(ValueError, match=message):
        env.step(np.array([1, 1, 1]))
    for action in (-1, 3):
        with pytest.raises(ValueError, match=f"action {action} is illegal"):
            env.step(np.array([1, 0, action]))
    assert np.array_equal(env.simulator.states, before)
    env.step(np.array([1, 0, 1]))


def test_actions_that_are_no_actions():
    env = GFNVectorEnv(Hypergrid(), 3)
    env.reset()
    for actions in ([0, 1], [0.0, 1.0, 2.0], [0, 1, 2, 3], 0, None):
        with pytest.raises(ValueError, match="actions must be 3 integer"):
            env.step(actions)


def test_stepping_before_reset_or_after_the_end():
    env = GFNVectorEnv(Hypergrid(2, 3), 2, autoreset_mode="Disabled")
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step(np.zeros(2, dtype=int))
    env.reset()
    env.step(np.array([2, 0]))
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"episodes \[0\] have ended"):
        env.step(np.zeros(2, dtype=int))
    env.reset(options={"reset_mask": np.array([False, True])})
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"episodes \[0\] have ended"):
        env.step(np.zeros(2, dtype=int))
    env.reset(options={"reset_mask": np.array([True, False])})
    env.step(np.zeros(2, dtype=int))


@pytest.mark.parametrize(
    "rows", [[True, False], np.ones(3, dtype=bool), np.ones(2, dtype=int), np.zeros(2, dtype=bool)]
)
def test_bad_reset_masks(rows):
    env = GFNVectorEnv(Hypergrid(2, 3), 2, autoreset_mode="Disabled")
    env.reset()
    with pytest.raises(ValueError, match=r"options\['reset_mask'\] must be"):
        env.reset(options={"reset_mask": rows})


def test_the_first_reset_starts_all_whatever_the_mask():
    env = GFNVectorEnv(Hypergrid(2, 3), 2, autoreset_mode="Disabled")
    env.reset(options={"reset_mask": np.array([True, False])})
    observations, *_ = env.step(np.zeros(2, dtype=int))
    assert observations.shape == (2, 6)


@pytest.mark.parametrize("mode", MODES)
def test_render(mode):
    env = GFNVectorEnv(Hypergrid(2, 5), 2, render_mode="ansi", autoreset_mode=mode)
    env.reset()
    blank = env.render()
    env.step(np.array([0, 1]))
    pictures = env.render()
    assert len(pictures) == 2 and pictures[0] != pictures[1]
    env.step(np.array([2, 0]))
    if mode == "NextStep":
        env.step(np.array([2, 0]))
    assert env.render()[0] == blank[0]
    assert GFNVectorEnv(Hypergrid(2, 5), 2).render() is None


def test_pickle_and_copy_go_on_alike():
    env = GFNVectorEnv(Hypergrid(2, 5), 3)
    env.reset(seed=0)
    env.step(np.array([0, 1, 2]))
    for twin in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        assert np.array_equal(twin.simulator.states, env.simulator.states)
        for a, b in zip(
            twin.step(np.array([2, 2, 0])),
            copy.deepcopy(env).step(np.array([2, 2, 0])),
            strict=True,
        ):
            assert_same(a, b)


def test_registering_ones_own():
    gfn_gym.register("WordsForTests-v3", "dags:Words", length=2)
    try:
        for id in ("WordsForTests-v3", "WordsForTests-Terminate-v3"):
            env = gymnasium.make_vec(id, num_envs=2, size=4)
            assert env.dag.length == 2 and env.dag.size == 4
            assert gymnasium.make(id).unwrapped.dag.length == 2
    finally:
        for id in ("WordsForTests-v3", "WordsForTests-Terminate-v3"):
            del gymnasium.registry[id]
    with pytest.raises(ValueError, match="must end in a version"):
        gfn_gym.register("WordsForTests", "dags:Words")
