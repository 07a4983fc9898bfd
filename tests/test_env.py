"""The single environment: Gymnasium's and SB3's checkers, masks, endings, pictures, pickles."""

import copy
import math
import pickle
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import gfn_gym
from dags import DAGS, Words
from gfn_gym import GFNEnv, GFNVectorEnv
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.mdp import MDP, check_legal, sample_from_log_probs, sample_legal_actions

IDS = ["HypergridGFN-v0", "HypergridGFN-Hard-v0"]
TERMINATE_IDS = ["HypergridGFN-Terminate-v0", "HypergridGFN-Hard-Terminate-v0"]


@pytest.mark.parametrize("observation", ["onehot", "state"])
@pytest.mark.parametrize("id", TERMINATE_IDS)
def test_gymnasium_checker(id, observation):
    env = gymnasium.make(id, observation=observation, disable_env_checker=True)
    check_env(env.unwrapped)


@pytest.mark.parametrize("observation", ["onehot", "state"])
@pytest.mark.parametrize("id", TERMINATE_IDS)
def test_sb3_checker(id, observation):
    sb3_check_env(gymnasium.make(id, observation=observation).unwrapped)


@pytest.mark.parametrize("name", DAGS)
def test_checkers_on_other_dags(name):
    env = GFNEnv(DAGS[name], invalid_action="terminate")
    check_env(env, skip_render_check=True)
    sb3_check_env(env)


@pytest.mark.parametrize("id", [*IDS, *TERMINATE_IDS])
def test_rollouts_through_the_passive_checker(id):
    env = gymnasium.make(id, ndim=2, height=5)
    generator = np.random.default_rng(0)
    for _ in range(20):
        observation, info = env.reset(seed=1)
        assert observation.dtype == np.float32 and observation in env.observation_space
        ended, total = False, 0
        while not ended:
            action = sample_legal_actions(info["action_mask"][None], generator)[0]
            previous = observation
            observation, reward, ended, truncated, info = env.step(action)
            assert isinstance(reward, float) and reward <= np.log(4.0)
            assert not truncated
            total += 1
        assert np.array_equal(observation, previous), "the stop action changes nothing"


def test_observations():
    env = gymnasium.make("HypergridGFN-v0", ndim=2, height=3)
    onehot, _ = env.reset()
    assert onehot.tolist() == [1, 0, 0, 1, 0, 0]
    assert env.step(1)[0].tolist() == [1, 0, 0, 0, 1, 0]
    assert env.observation_space == gymnasium.spaces.Box(0, 1, (6,), np.float32)
    env = gymnasium.make("HypergridGFN-v0", ndim=2, height=3, observation="state")
    assert env.reset()[0].tolist() == [0, 0]
    assert env.step(1)[0].tolist() == [0, 1]
    assert env.observation_space == gymnasium.spaces.MultiDiscrete([3, 3], dtype=np.int32)
    assert env.unwrapped.state.tolist() == [0, 1]
    with pytest.raises(ValueError, match="observation='pixels' is unknown"):
        gymnasium.make("HypergridGFN-v0", observation="pixels")


@pytest.mark.parametrize("observation", ["onehot", "state"])
@pytest.mark.parametrize("name", DAGS)
def test_observations_give_their_states_back(name, observation):
    env = GFNEnv(DAGS[name], observation=observation)
    states = env.dag.state_space.nvec - 1 - env.dag.initial_states(4)
    shown = env.observer.observe(states)
    back = env.observer.states_of(shown)
    assert np.array_equal(back, states) and back.dtype == env.dag.state_space.dtype
    shown[:] = 0
    assert np.array_equal(env.observer.states_of(env.observer.observe(states)), states)


def test_masks():
    env = gymnasium.make("HypergridGFN-v0", ndim=2, height=2)
    _, first = env.reset()
    assert first["action_mask"].dtype == np.int8 and first["action_mask"].tolist() == [1, 1, 1]
    _, _, _, _, second = env.step(0)
    assert second["action_mask"].tolist() == [0, 1, 1]
    assert first["action_mask"].tolist() == [1, 1, 1], "the mask is a fresh array each time"
    masks = env.unwrapped.action_masks()
    assert masks.dtype == bool and masks.tolist() == [False, True, True]
    second["action_mask"][:], masks[:] = 1, True
    assert env.unwrapped.action_masks().tolist() == [False, True, True]
    with pytest.raises(ValueError, match="action 0 is illegal"):
        env.step(0)
    assert env.action_space.sample(mask=second["action_mask"]) in (0, 1, 2)


def test_the_last_mask_keeps_a_bit():
    env = GFNEnv(Words(1, 3))
    env.reset()
    _, _, ended, _, info = env.step(2)
    assert ended and info["action_mask"].tolist() == [1, 0, 0]
    assert env.action_masks().tolist() == [True, False, False]


@pytest.mark.parametrize("action", [0, 3, -1, 10**12])
def test_illegal_actions(action):
    env = gymnasium.make("HypergridGFN-v0", ndim=2, height=2, disable_env_checker=True)
    env.reset()
    env.step(0)
    message = rf"action {action} is illegal in state \[1, 0\] of Hypergrid\(.*; legal are \[1, 2\]"
    message += r"\. info\['action_mask'\] .* takes the Terminate variant"
    with pytest.raises(ValueError, match=message):
        env.step(action)
    assert env.unwrapped.state.tolist() == [1, 0]
    assert env.step(1)[0].tolist() == [0, 1, 0, 1], "the episode goes on after the error"


@pytest.mark.parametrize("action", [0.0, "0", None, [0, 1], np.array([True])])
def test_actions_that_are_no_actions(action):
    env = GFNEnv(Hypergrid(2, 2))
    env.reset()
    with pytest.raises(ValueError, match=r"actions must be 1 integer\(s\), not"):
        env.step(action)


@pytest.mark.parametrize("action", [0, np.int64(0), np.array(0), np.array([0], dtype=np.uint8)])
def test_forms_of_actions(action):
    env = GFNEnv(Hypergrid(2, 2))
    env.reset()
    assert env.step(action)[0].tolist() == [0, 1, 1, 0]


def test_long_lists_of_legal_actions_are_cut():
    dag = Words(10, 5)
    with pytest.raises(ValueError, match=r"legal are \[0, 1, .*, 19\] and more"):
        check_legal(dag, dag.initial_states(2), np.array([0, 50]))


@pytest.mark.parametrize("action", [0, -1, 17])
def test_terminate(action):
    env = GFNEnv(Hypergrid(2, 2), invalid_action="terminate", invalid_reward=-50.0)
    env.reset()
    env.step(0)
    observation, reward, ended, truncated, info = env.step(action)
    assert (reward, ended, truncated) == (-50.0, True, False)
    assert observation.tolist() == [0, 1, 1, 0] and info["action_mask"].tolist() == [0, 1, 1]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(2)
    env.reset()
    assert env.step(0)[0].tolist() == [0, 1, 1, 0]


def test_terminate_punishes_below_any_return():
    env = gymnasium.make("HypergridGFN-Hard-Terminate-v0").unwrapped
    env.reset()
    for _ in range(19):
        env.step(0)
    assert env.step(0)[1] == -100.0
    assert env.simulator.invalid_action == "terminate"


def test_stepping_outside_an_episode():
    env = GFNEnv(Hypergrid(2, 3))
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\) before step"):
        env.step(0)
    env.reset()
    env.step(2)
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\) before step"):
        env.step(0)


def test_rewards_by_hand():
    env = GFNEnv(Hypergrid(2, 5))
    env.reset()
    rewards = [env.step(action)[1] for action in (0, 0, 1, 2)]
    assert rewards == pytest.approx([0.0, 0.0, np.log(1 / 2), np.log(1e-3)], abs=1e-12)


def rather_the_first(states):
    """Takes the first coordinate back with probability 3/4 where both can be."""
    weights = np.where(states > 0, [3.0, 1.0], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(weights / weights.sum(axis=1, keepdims=True))


def test_backward_policy_is_the_reward():
    env = GFNEnv(Hypergrid(2, 5), backward_policy=rather_the_first)
    env.reset()
    env.step(0)
    assert env.step(1)[1] == pytest.approx(np.log(0.25))


def table(values):
    return lambda states: np.tile(np.asarray(values, dtype=float), (len(states), 1))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (table([0.0, 0.0]), "the backward policy returned .* in state"),
        (table([np.nan, 0.0]), "the backward policy returned NaN in state"),
        (table([-np.inf, -np.inf]), "sum to 0, not 1"),
        (table([0.0]), r"returned shape \(3, 1\) .* it must return log-probabilities"),
        (lambda states: 0.0, r"returned shape \(\) for states"),
        (lambda states: np.log([0.5, 0.5]), r"returned shape \(2,\) for states"),
    ],
)
def test_a_wrong_backward_policy_is_refused_at_the_first_steps(policy, message):
    env = GFNVectorEnv(Hypergrid(2, 5), 3, backward_policy=policy)
    env.reset()
    with pytest.raises(ValueError, match=message):
        env.step([0, 0, 0])
        env.step([1, 1, 1])


def test_an_edge_without_probability_is_refused():
    """Its reward would be −inf, and the training, not the policy, would be blamed."""

    def never_second(states):
        return np.log((np.cumsum(states > 0, axis=1) == 1) * (states > 0))

    env = GFNVectorEnv(Hypergrid(2, 5), 2, backward_policy=never_second)
    env.reset()
    with np.errstate(divide="ignore"):
        env.step([0, 1])
        with pytest.raises(ValueError, match="probability 0 to the edge that action 1 takes"):
            env.step([1, 1])


@pytest.mark.parametrize("policy", [3, "uniform"])
def test_a_backward_policy_that_is_no_function_is_refused(policy):
    with pytest.raises(TypeError, match=r"backward_policy=.* must be a function from states"):
        GFNEnv(Hypergrid(2, 5), backward_policy=policy)


@pytest.mark.parametrize(("factor", "seen"), [(np.nan, 1), (1.1, 64)])
def test_a_backward_policy_is_looked_at_later_too(factor, seen):
    """NaN at once, however late it comes; another mistake in a sample of the states."""
    dag, wrong = Hypergrid(2, 9), []

    def policy(states):
        return MDP(dag).backward_log_probs(states) * (factor if wrong else 1.0)

    mdp, states = MDP(dag, policy), np.full((2000, 2), 4)
    for _ in range(10):
        mdp.backward_log_probs(states)
    wrong.append(True)
    with pytest.raises(ValueError, match="the backward policy returned"):
        for _ in range(seen):
            mdp.backward_log_probs(states)


# ---- the reward of an illegal action --------------------------------------------------------


@pytest.mark.parametrize(
    ("dag", "expected"),
    [
        (Hypergrid(4, 20, "hard"), -100.0),
        (Hypergrid(2, 4, "hard", reward_exponent=20), 20 * np.log(1e-4) - 1),
        (Hypergrid(2, 4, lambda states: -states.sum(axis=1)), -100.0),
        (BitSequence(8, 2), -100.0),
        (BitSequence(120, 8), -240 - math.lgamma(16) - 1),
        (BitSequence(120, 8, reward_exponent=3), -360 - math.lgamma(16) - 1),
        (Molecule(reward_exponent=20), 20 * np.log(1e-4) - 1),
    ],
)
def test_the_default_lies_below_every_log_reward(dag, expected):
    env = GFNEnv(dag, invalid_action="terminate")
    env.reset()
    assert env.step(dag.n_actions)[1] == pytest.approx(expected)
    assert GFNVectorEnv(dag).simulator.invalid_reward == pytest.approx(expected)


def test_no_bit_sequence_earns_less_than_an_illegal_action():
    """Of random ones of 120 bits 17 % lay below the −100 of before."""
    env = gymnasium.make_vec(
        "BitSequenceGFN-Terminate-v0", 512, vectorization_mode="vector_entry_point"
    )
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(15):
            actions = sample_legal_actions(env.action_masks(), generator)
            _, rewards, done, _, _ = env.step(actions)
    assert done.all() and (rewards < -100).any() and rewards.min() > env.simulator.invalid_reward


def test_a_log_reward_below_that_of_an_illegal_action_warns_once():
    dag = Hypergrid(1, 3, lambda states: -150.0 - states[:, 0])
    env = GFNVectorEnv(dag, 2, invalid_action="terminate")
    env.reset()
    with pytest.warns(UserWarning, match=r"log R = -150 of \[0\] lies below invalid_reward=-100"):
        env.step([1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.reset()
        env.step([1, 1])
        GFNVectorEnv(dag, 2).reset()  # where illegal actions raise it does not matter
        GFNVectorEnv(dag, 2, invalid_action="terminate", invalid_reward=-200).reset()


# ---- drawing --------------------------------------------------------------------------------


def test_ansi():
    env = gymnasium.make("HypergridGFN-v0", ndim=2, height=8, render_mode="ansi")
    env.reset()
    before = env.render()
    lines = before.splitlines()
    assert len(lines) == 10 and {len(line) for line in lines} == {18}
    assert before.count("@@") == 1 and "█" in before
    env.step(1)
    after = env.render()
    assert after != before and after.count("··") == 1
    env.step(2)
    assert env.render().count("@@") == 1, "an ended walk can still be drawn"
    env.reset()
    assert env.render() == before


@pytest.mark.parametrize(
    ("ndim", "axes", "shape"),
    [(1, (0, 1), (160, 20, 3)), (2, (0, 1), (160, 160, 3)), (4, (3, 1), (160, 160, 3))],
)
def test_rgb_array(ndim, axes, shape):
    dag = Hypergrid(ndim=ndim, height=8, render_axes=axes)
    env = GFNEnv(dag, render_mode="rgb_array")
    env.reset()
    pictures = [env.render()]
    for action in (dag.render_axes[0], dag.render_axes[0], dag.stop_action):
        env.step(action)
        pictures.append(env.render())
    for picture in pictures:
        assert picture.dtype == np.uint8 and picture.shape == shape
    assert (pictures[0] != pictures[1]).any() and (pictures[1] != pictures[2]).any()
    assert len(np.unique(pictures[0].reshape(-1, 3), axis=0)) >= 4


def test_default_rendering():
    env = GFNEnv(DAGS["words"], render_mode="ansi")
    env.reset()
    env.step(3)
    assert env.render() == "[2, 2, 2]\n[2, 1, 2]"


def test_render_modes():
    env = GFNEnv(Hypergrid(2, 3))
    env.reset()
    assert env.render() is None
    assert env.metadata == {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}
    with pytest.raises(ValueError, match=r"render_mode='human' is not one of \['ansi', 'rgb_arr"):
        GFNEnv(Hypergrid(2, 3), render_mode="human")
    with pytest.raises(ValueError, match=r"'rgb_array' is not one of \['ansi'\]"):
        GFNEnv(DAGS["words"], render_mode="rgb_array")
    for dag in (Hypergrid(2, 3), DAGS["words"]):
        with pytest.raises(ValueError, match="render mode 'human'"):
            dag.render(dag.initial_states(1), "human")


@pytest.mark.parametrize("make", [GFNEnv, GFNVectorEnv])
def test_render_before_reset(make):
    env = make(Hypergrid(2, 3), render_mode="ansi")
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.render()


# ---- construction, copies, imports ----------------------------------------------------------


@pytest.mark.parametrize("id", [*IDS, *TERMINATE_IDS])
def test_make_with_the_module_prefix(id):
    env = gymnasium.make(f"gfn_gym:{id}")
    assert (env.unwrapped.dag.ndim, env.unwrapped.dag.height) == (4, 20)
    assert env.unwrapped.dag.reward == ("hard" if "Hard" in id else "standard")


def test_pickle_and_deepcopy():
    env = gymnasium.make("HypergridGFN-v0", ndim=3, height=4)
    env.reset(seed=0)
    env.step(1)
    for twin in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        assert twin.spec == env.spec
        assert twin.step(0)[0].tolist() == copy.deepcopy(env).step(0)[0].tolist()
    assert pickle.loads(pickle.dumps(env.spec)) == env.spec
    again = gymnasium.make(pickle.loads(pickle.dumps(env.spec)))
    assert repr(again.unwrapped.dag) == repr(env.unwrapped.dag)


def test_spec_to_json():
    spec = gymnasium.make("HypergridGFN-v0", ndim=2).spec
    assert gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()).kwargs["ndim"] == 2


def test_dag_must_be_a_dag():
    for dag in (dict, "builtins:dict", Hypergrid(2, 2)):
        with pytest.raises(TypeError, match=r"must be a subclass of gfn_gym\.DAG"):
            gfn_gym.env.make_env(dag)


def test_unknown_arguments():
    with pytest.raises(TypeError, match="heigth"):
        gymnasium.make("HypergridGFN-v0", heigth=3)
    with pytest.raises(TypeError, match="heigth"):
        gymnasium.make_vec("HypergridGFN-v0", heigth=3)
    with pytest.raises(TypeError, match="autoreset_mode"):
        gymnasium.make("HypergridGFN-v0", autoreset_mode=AutoresetMode.SAME_STEP)


def test_imports_without_torch():
    script = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "stable_baselines3", "matplotlib", "rdkit"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, NoTorch())
import gymnasium
env = gymnasium.make("gfn_gym:HypergridGFN-v0", render_mode="rgb_array")
env.reset()
env.step(0)
env.render()
gymnasium.make_vec("HypergridGFN-v0", num_envs=3).reset()
import gfn_gym.wrappers, gfn_gym.checks, gfn_gym.graph
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)


# ---- sampling -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float32])
def test_sample_actions_is_uniform_over_the_legal(order, dtype):
    mask = np.array([[1, 0, 1, 1], [0, 0, 0, 1], [0, 1, 1, 0]], dtype=dtype)
    many = np.asarray(np.tile(mask, (4000, 1)), order=order)
    actions = sample_legal_actions(many, np.random.default_rng(0)).reshape(4000, 3)
    assert actions.dtype == np.int64
    for row in range(3):
        share = np.bincount(actions[:, row], minlength=4) / 4000
        assert share == pytest.approx(mask[row] / mask[row].sum(), abs=0.03)
        assert (share[mask[row] == 0] == 0).all()


def test_sample_actions_refuses_empty_rows():
    with pytest.raises(ValueError, match="row 1 of the mask has no legal action"):
        sample_legal_actions(np.array([[True, False], [False, False]]), np.random.default_rng(0))


def test_sample_from():
    log_probs = np.tile([np.log(0.5), -np.inf, np.log(0.2), np.log(0.3)], (4000, 1))
    share = (
        np.bincount(sample_from_log_probs(log_probs, np.random.default_rng(0)), minlength=4) / 4000
    )
    assert share == pytest.approx([0.5, 0.0, 0.2, 0.3], abs=0.03) and share[1] == 0


def test_backward_log_probs():
    mdp = MDP(Hypergrid(3, 4))
    log_p = mdp.backward_log_probs(np.array([[0, 0, 0], [0, 2, 1]]))
    assert (log_p[0] == -np.inf).all()
    assert np.exp(log_p[1]) == pytest.approx([0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("old", "new"),
    [("sample_actions", sample_legal_actions), ("sample_from", sample_from_log_probs)],
)
def test_old_names_go_on_working(old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} is now called {new.__name__}"):
        assert getattr(gfn_gym.mdp, old) is new
