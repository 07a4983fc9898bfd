"""Bit sequences: distances against a slow count, modes and test set as upstream, bad input."""

import itertools
import math

import gymnasium
import numpy as np
import pytest

from gfn_gym import GFNEnv, GFNVectorEnv
from gfn_gym.envs import bit_sequence
from gfn_gym.envs.bit_sequence import PIECES, BitSequence, draw_modes, flipped_modes
from gfn_gym.graph import enumerate_graph
from gfn_gym.mdp import MDP, sample_legal_actions


def differing(a: str, b: str) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


def random_objects(dag, n, seed=0):
    return np.random.default_rng(seed).integers(0, dag.n_words, (n, dag.n_positions))


# ---- reward ---------------------------------------------------------------------------------


@pytest.mark.parametrize("counter", ["bitwise_count", "table"])
@pytest.mark.parametrize(("n", "k"), [(120, 8), (120, 2), (120, 10), (120, 12), (64, 4), (8, 1)])
def test_distances_by_counting_characters(n, k, counter, monkeypatch):
    if counter == "table":
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    monkeypatch.setattr(bit_sequence, "ROWS_AT_ONCE", 7)
    dag = BitSequence(n, k, reward_exponent=1.5, n_modes=9, seed=1)
    states = random_objects(dag, 20)
    modes, strings = dag.format(dag.modes), dag.format(states)
    expected = np.array([[differing(x, mode) for mode in modes] for x in strings])
    assert np.array_equal(dag.mode_distances(states), expected)
    log_reward = dag.log_reward(states)
    assert log_reward.dtype == np.float64
    assert log_reward == pytest.approx(-1.5 * expected.min(axis=1))
    assert (dag.log_reward(dag.modes) == 0).all()


def test_distances_of_unfinished_states_count_the_words_that_are_there():
    dag = BitSequence(8, 4, modes=["00001111", "10000000"])
    states = np.array([[16, 0b0110], [0b0111, 16], [16, 16]])
    assert dag.mode_distances(states).tolist() == [[2, 2], [3, 4], [0, 0]]


def test_most_significant_bit_first():
    dag = BitSequence(12, 4, modes=["000100100011"])
    assert dag.modes.tolist() == [[1, 2, 3]]
    assert dag.format(dag.modes) == ["000100100011"]
    assert dag.format(np.array([[16, 8, 16]])) == ["····1000····"]
    assert dag.bits(np.array([[16, 8, 16]])).nonzero()[1].tolist() == [4]


def test_log_partition():
    states = np.array(list(itertools.product(range(4), repeat=4)))
    one = BitSequence(8, 2, 1.3, modes=["01100101"] * 3)
    assert one.log_partition() == pytest.approx(np.logaddexp.reduce(one.log_reward(states)))
    two = BitSequence(8, 2, modes=["00000000", "11111111"])
    assert two.log_partition() is None
    bound = math.log(2) + 8 * math.log1p(math.exp(-2))
    assert np.logaddexp.reduce(two.log_reward(states)) < bound


# ---- modes and test set ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 3])
def test_modes_are_those_of_the_papers_code(seed):
    """There np.random.choice draws piece by piece, from a generator seeded anew."""
    generator = np.random.RandomState(seed)
    expected = ["".join(generator.choice(list(PIECES)) for _ in range(15)) for _ in range(60)]
    assert draw_modes(120, 60, seed) == expected
    assert BitSequence(seed=seed).format(BitSequence(seed=seed).modes) == expected


def test_duplicate_modes_stay_in_the_list():
    dag = BitSequence(8, 2, n_modes=60)
    assert len(dag.modes) == 60 and len(np.unique(dag.modes, axis=0)) == 5


def test_the_papers_test_set():
    dag = BitSequence(24, 4, n_modes=3)
    strings = dag.format(flipped_modes(dag, seed=2))
    modes = dag.format(dag.modes)
    assert len(strings) == 3 * 24
    found = [differing(x, modes[row // 24]) for row, x in enumerate(strings)]
    assert found == list(range(24)) * 3
    generator = np.random.RandomState(2)
    for row, x in enumerate(strings):
        if row % 24:
            flipped = generator.choice(list(range(24)), size=row % 24, replace=False)
            mode = modes[row // 24]
            assert {i for i in range(24) if x[i] != mode[i]} == set(flipped.tolist())


# ---- dynamics -------------------------------------------------------------------------------


def test_steps_by_hand():
    dag = BitSequence(6, 2, modes=["000000"])
    states = np.array([[4, 4, 4], [4, 3, 0]], dtype=np.int32)
    assert dag.action_mask(states).tolist() == [[1] * 12, [1] * 4 + [0] * 8]
    assert dag.backward_mask(states).tolist() == [[0, 0, 0], [0, 1, 1]]
    nexts, done = dag.step(states, np.array([6, 1]))
    assert nexts.tolist() == [[4, 2, 4], [1, 3, 0]] and done.tolist() == [False, True]
    assert nexts.dtype == np.int32
    assert dag.backward_step(nexts, np.array([1, 0])).tolist() == states.tolist()
    assert dag.forward_action(nexts, np.array([1, 0])).tolist() == [6, 1]
    rewards = MDP(dag).step(states, np.array([6, 1])).rewards
    assert rewards == pytest.approx([0.0, math.log(1 / 3) - 2.0 * 3])


@pytest.mark.parametrize("k", [2, 8, 10, 12])
def test_batch_and_single_agree(k):
    dag = BitSequence(120, k)
    batch = GFNVectorEnv(dag, 3, observation="state", autoreset_mode="Disabled")
    singles = [GFNEnv(dag, observation="state") for _ in range(3)]
    observations, infos = batch.reset(seed=0)
    for row, single in enumerate(singles):
        assert np.array_equal(single.reset()[0], observations[row])
    generator = np.random.default_rng(k)
    for step in range(dag.n_positions):
        actions = sample_legal_actions(infos["action_mask"], generator)
        observations, rewards, ended, _, infos = batch.step(actions)
        for row, single in enumerate(singles):
            observation, reward, over, _, info = single.step(actions[row])
            assert np.array_equal(observation, observations[row])
            assert (reward, over) == (rewards[row], ended[row])
            assert over == (step == dag.n_positions - 1)
            assert np.array_equal(info["action_mask"], infos["action_mask"][row])


def test_observations_of_the_papers_size():
    env = gymnasium.make("BitSequenceGFN-v0")
    observation, info = env.reset()
    assert observation.shape == (15 * 257,) and observation.dtype == np.float32
    assert observation.sum() == 15 and info["action_mask"].shape == (15 * 256,)
    compact, _ = gymnasium.make("BitSequenceGFN-v0", observation="state").reset()
    assert compact.tolist() == [256] * 15


def test_size_of_the_space_that_is_enumerated():
    assert len(enumerate_graph(BitSequence(8, 4)).states) == 17**2
    assert len(enumerate_graph(BitSequence(16, 4)).states) == 83_521


# ---- drawing --------------------------------------------------------------------------------


def test_render_text():
    env = gymnasium.make(
        "BitSequenceGFN-v0", n=8, k=4, modes=["11110000", "00000001"], render_mode="ansi"
    )
    env.reset()
    env.step(0b0111)
    assert env.render().split("\n") == [
        "0111 ····",
        "^",
        "1111 0000",
        "",
        "mode 0: 1 of 4 bits differ",
    ]


def test_render_pixels():
    env = gymnasium.make("BitSequenceGFN-v0", n=16, k=4, render_mode="rgb_array")
    env.reset()
    empty = env.render()
    env.step(5)
    image = env.render()
    assert image.dtype == np.uint8 and image.shape[1:] == (16 * 8, 3)
    assert image.shape[0] == empty.shape[0] + 8


def test_long_sequences_are_drawn_in_lines():
    dag = BitSequence()
    text = dag.render(random_objects(dag, 1), "ansi")
    assert max(map(len, text.split("\n"))) <= 100
    with pytest.raises(ValueError, match="render mode 'human'"):
        dag.render(dag.initial_states(1), "human")


# ---- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n=0 must be an integer of at least 1"),
        ({"n": 120.0}, r"n=120\.0 must be an integer"),
        ({"k": 0}, "k=0 must be an integer of at least 1"),
        ({"k": True}, "k=True must be an integer"),
        ({"k": 7}, "k=7 must divide n=120"),
        ({"k": 15}, "k=15 must be at most 14"),
        ({"n": 60, "k": 6}, "n=60 must be a multiple of 8.*or pass modes="),
        ({"n_modes": 0}, "n_modes=0 must be an integer of at least 1"),
        ({"seed": -1}, "seed=-1 must be an integer of at least 0"),
        ({"seed": None}, "seed=None must be an integer"),
        ({"seed": 2**32}, r"seed=4294967296 must be below 2\*\*32"),
        ({"mode_threshold": -1}, "mode_threshold=-1 must be an integer of at least 0"),
        ({"mode_threshold": 2.5}, r"mode_threshold=2\.5 must be an integer"),
        ({"reward_exponent": 0.0}, r"reward_exponent=0\.0 must be a finite number above 0"),
        ({"reward_exponent": math.nan}, "reward_exponent=nan must be a finite"),
        ({"modes": []}, r"modes=\[\] must be a list of bit strings"),
        ({"modes": "0" * 120}, "modes='0+' must be a list of bit strings"),
        ({"modes": 3}, "modes=3 must be a list of bit strings"),
        ({"modes": ["0" * 119]}, r"modes\[0\]='0+' must be a string of n=120 characters"),
        ({"modes": ["0" * 120, "2" * 120]}, r"modes\[1\]='2+' must be a string of n=120"),
        ({"modes": [[0] * 120]}, r"modes\[0\]=\[0.* must be a string"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BitSequence(**arguments)
    with pytest.raises(ValueError, match=message):
        gymnasium.make("BitSequenceGFN-v0", **arguments)


def test_bad_strings_and_seed():
    dag = BitSequence(8, 2)
    for strings, message in (
        (["01" * 4, "0101"], r"strings\[1\]='0101' must be a string of n=8 characters"),
        (["01012223"], r"strings\[0\]='01012223' must be"),
        ("01" * 4, "strings='01010101' must be a list of bit strings"),
    ):
        with pytest.raises(ValueError, match=message):
            dag.parse(strings)
    for seed, message in (
        (-1, "seed=-1 must be"), (None, "seed=None must be"), (2**32, "seed=4294967296 must be"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            flipped_modes(dag, seed)


def test_any_n_with_modes_of_ones_own():
    dag = BitSequence(9, 3, modes=["000000000"])
    assert dag.mode_threshold == 2 and BitSequence().mode_threshold == 30


def test_an_illegal_action_names_what_is_legal():
    env = gymnasium.make("BitSequenceGFN-v0", n=8, k=2)
    env.reset()
    env.step(0)
    with pytest.raises(ValueError, match=r"action 1 is illegal in state \[0, 4, 4, 4\]"):
        env.step(1)
