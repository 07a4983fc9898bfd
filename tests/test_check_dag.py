"""check_dag passes what is right, and names what is wrong."""

import numpy as np
import pytest
from gymnasium import spaces

from dags import DAGS, Piles, Strides, Words
from gfn_gym import GFNEnv, GFNVectorEnv, check_dag
from gfn_gym.checks import DAGError
from gfn_gym.dag import Observation
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.ising import Ising
from gfn_gym.evaluation import solve
from gfn_gym.mdp import MDP, sample_legal_actions

GOOD = {
    **DAGS,
    "line": Hypergrid(1, 7),
    "square": Hypergrid(2, 5, reward="hard"),
    "cube": Hypergrid(3, 2),
    "custom": Hypergrid(2, 4, reward=lambda x: -x.sum(axis=1)),
    "bits": BitSequence(8, 2),
    "one word of bits": BitSequence(3, 3, modes=["010"]),
    "own modes": BitSequence(6, 1, modes=["010101", "000111"]),
    "networks": BayesianNetwork(erdos_renyi_data(4)[0]),
    "networks, constrained": BayesianNetwork(
        erdos_renyi_data(4)[0], "bic", max_parents=2, forbidden=[(0, 1)], required=[(2, 1)]
    ),
    "spins": Ising(2, field=[0.1, -0.2, 0.3, 0.0]),
    "spins, raster": Ising(3, order="raster"),
    "spins, couplings": Ising(couplings=np.array([[0, 1, -2], [1, 0, 0.5], [-2, 0.5, 0]]), J=-0.3),
    "one spin": Ising(couplings=[[0.0]], field=1.0),
    "one word": Words(1, 1),
    "one pile": Piles(1, 1),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name):
    check_dag(GOOD[name])


def test_too_large():
    with pytest.raises(ValueError, match="max_states=100 states"):
        check_dag(Hypergrid(), max_states=100)


class MaskAllowsTooMuch(Strides):
    """outside state_space"""

    def action_mask(self, states):
        return np.ones((len(states), self.n_actions), dtype=bool)


class MaskAllowsTooLittle(Strides):
    """no forward trajectory reaches|forward_action is illegal in the parent"""

    def action_mask(self, states):
        return super().action_mask(states) & (np.arange(5) != 0)


class MaskForgetsSome(Strides):
    """forward_action is illegal in the parent"""

    def action_mask(self, states):
        mask = super().action_mask(states)
        mask[states.sum(axis=1) == 3, 0] = False
        return mask


class MaskOfIntegers(Strides):
    """action_mask must be bool"""

    def action_mask(self, states):
        return super().action_mask(states).astype(int)


class MaskTooNarrow(Strides):
    """action_mask must be bool \\(3, 5\\)"""

    def action_mask(self, states):
        return super().action_mask(states)[:, :4]


class BackwardMaskInStart(Strides):
    """backward_mask must be False everywhere in s0"""

    def backward_mask(self, states):
        return np.ones((len(states), 4), dtype=bool)


class BackwardMaskTooMuch(Piles):
    """backward_step leads to a state that no forward trajectory reaches"""

    def backward_mask(self, states):
        return np.repeat(states.any(axis=1, keepdims=True), 3, axis=1)


class BackwardMaskTooLittle(Strides):
    """backward_action is illegal in the next state"""

    def backward_mask(self, states):
        mask = super().backward_mask(states)
        mask[(states == 2).all(axis=1), 1] = False
        return mask


class DeadEnd(Strides):
    """backward_action is illegal in the next state"""

    def backward_mask(self, states):
        return super().backward_mask(states) & (states != [1, 1]).any(axis=1)[:, None]


class BackwardElsewhere(Strides):
    """backward_action does not undo its action"""

    def backward_step(self, states, backward_actions):
        return super().backward_step(states, np.where(states[:, 0] == 3, 0, backward_actions))


class BackwardStays(Strides):
    """backward_action does not undo its action"""

    def backward_step(self, states, backward_actions):
        return states


class BackwardActionWrong(Strides):
    """backward_action is illegal in the next state|backward_action does not undo"""

    def backward_action(self, states, actions):
        return actions ^ 1


class ForwardActionWrong(Words):
    """forward_action does not lead from the parent back"""

    def forward_action(self, states, backward_actions):
        return backward_actions * self.size


class ForwardActionIllegal(Strides):
    """forward_action is illegal in the parent"""

    def forward_action(self, states, backward_actions):
        return np.full(len(states), 1)


class NotCanonical(Piles):
    """a row that is not canonical"""

    def _sorted(self, states):
        return states


class ParallelIgnored(Piles):
    """n_parallel"""

    def n_parallel(self, edges):
        return np.ones(len(edges), dtype=int)


class GroupTooSmall(Piles):
    """backward_group leaves out"""

    def backward_group(self, edges):
        group = super().backward_group(edges)
        return group & (np.cumsum(group, axis=1) == 1)


class GroupTooLarge(Piles):
    """backward_group holds"""

    def backward_action(self, states, actions):
        return Piles().backward_action(states, actions)

    def backward_group(self, edges):
        return np.ones((len(edges), 3), dtype=bool)


class BothWrongTogether(Strides):
    """n_parallel is not the number of parallel actions|backward_group"""

    def n_parallel(self, edges):
        return np.full(len(edges), 2)

    def backward_group(self, edges):
        return self.backward_mask(edges.next_states)


class UniformBackwardWrong(Piles):
    """log_uniform_backward is not what"""

    def log_uniform_backward(self, edges):
        return -np.log(self.backward_mask(edges.next_states).sum(axis=1))


class EdgesChanged(Piles):
    """backward_group must not change the edges it is given"""

    def backward_group(self, edges):
        edges.next_states -= edges.states
        return edges.next_states == 1


class Cycle(Strides):
    """cycle: action \\d leads from state \\[\\d, \\d\\] back to \\[\\d, \\d\\]"""

    def action_mask(self, states):
        return np.ones((len(states), self.n_actions), dtype=bool)

    def step(self, states, actions):
        nexts, done = super().step(states, actions)
        return nexts % self.height, done


class InfiniteReward(Strides):
    """Infinite.* returned -inf at state \\[2, 1\\]"""

    def log_reward(self, states):
        return np.where((states == [2, 1]).all(axis=1), -np.inf, 0.0)


class RewardShape(Strides):
    """RewardShape.* returned shape \\(16, 1\\)"""

    def log_reward(self, states):
        return np.zeros((len(states), 1))


class StatesOfWrong(Strides):
    """states_of\\(observe\\(state\\)\\) is not the state"""

    def states_of(self, observations):
        return super().states_of(observations)[:, ::-1]


class StopMoves(Strides):
    """stop action must end it and change nothing"""

    def _moves(self, actions):
        return np.array([[1, 0], [2, 0], [0, 1], [0, 2], [-1, 0]])[actions]


class NeverDone(Words):
    """step must say it is done exactly where nothing is legal"""

    def step(self, states, actions):
        nexts, done = super().step(states, actions)
        return nexts, done & False


class DoneTooEarly(Strides):
    """only stop_action may end the construction"""

    def step(self, states, actions):
        nexts, done = super().step(states, actions)
        return nexts, done | (nexts == 3).all(axis=1)


class StepWritesIntoItsStates(Words):
    """step must not change the states"""

    def step(self, states, actions):
        nexts, done = super().step(states, actions)
        states[:] = nexts
        return states, done


class BackwardStepWritesIntoItsStates(Words):
    """backward_step must not change the states"""

    def backward_step(self, states, backward_actions):
        states[:] = super().backward_step(states, backward_actions)
        return states


class NoStop(Strides):
    """stop_action=5 is not an action"""

    stop_action = 5


class StartOutside(Words):
    """is not in state_space"""

    def initial_states(self, n):
        return np.full((n, self.length), self.size + 1)


class FloatStates(Strides):
    """initial_states\\(3\\) must be integers"""

    def initial_states(self, n):
        return np.zeros((n, 2))


class StartsDiffer(Strides):
    """the same state n times"""

    def initial_states(self, n):
        return np.arange(2 * n).reshape(n, 2)


class NothingToDo(Words):
    """action_mask allows nothing in s0"""

    def action_mask(self, states):
        return np.zeros((len(states), self.n_actions), dtype=bool)


class StepReturnsIntegers(Words):
    """step must return which actions ended the construction as bool \\(3,\\), not int64"""

    def step(self, states, actions):
        nexts, done = super().step(states, actions)
        return nexts, done.astype(int)


class NoParallelCandidates(Piles):
    """parallel_candidates leaves out an action that leads to the same next state"""

    def parallel_candidates(self, states, actions):
        return actions[:, None] == np.arange(self.n_actions)


class IllegalCandidates(Piles):
    """parallel_candidates holds an illegal action"""

    def parallel_candidates(self, states, actions):
        return np.ones((len(states), self.n_actions), dtype=bool)


class Buffered(Words):
    def __init__(self):
        super().__init__()
        self.buffers = {}

    def kept(self, name, array):
        """The array, in memory that the next call uses as well."""
        buffer = self.buffers.setdefault((name, array.dtype), np.empty(100_000, array.dtype))
        view = buffer[: array.size].reshape(array.shape)
        view[:] = array
        return view


class SharedStep(Buffered):
    """step must return a fresh array"""

    def step(self, states, actions):
        nexts, done = super().step(states, actions)
        return self.kept("step", nexts), done


class SharedMask(Buffered):
    """action_mask must return a fresh array"""

    def action_mask(self, states):
        return self.kept("mask", super().action_mask(states))


class SharedStart(Buffered):
    """initial_states must return a fresh array"""

    def initial_states(self, n):
        return self.kept("start", super().initial_states(n))


class RewardOfTheBatch(Strides):
    """it must be a function of the state alone"""

    def log_reward(self, states):
        log_reward = super().log_reward(states)
        return log_reward - log_reward.mean()


class RewardOfThePlace(Strides):
    """it must be a function of the state alone"""

    def log_reward(self, states):
        return super().log_reward(states) + 0.01 * np.arange(len(states))


class RandomReward(Strides):
    """it must be a function of the state alone"""

    generator = np.random.default_rng(0)

    def log_reward(self, states):
        return super().log_reward(states) + self.generator.normal(0, 0.1, len(states))


class RewardWrites(Strides):
    """log_reward must not change the states it is given"""

    def log_reward(self, states):
        log_reward = super().log_reward(states)
        states[:] = 0
        return log_reward


class ComplexReward(Strides):
    """not real numbers"""

    def log_reward(self, states):
        return super().log_reward(states) + 0j


class OtherObservationOutside(Strides):
    """the observation 'sum' does not lie in its space"""

    def other_observations(self):
        space = spaces.Box(0, 1, (1,), np.float32)
        return {"sum": Observation(space, lambda s: s.sum(1, np.float32, keepdims=True))}


BROKEN = [
    value
    for name, value in list(globals().items())
    if isinstance(value, type) and value.__module__ == __name__ and value is not Buffered
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda cls: cls.__name__)
def test_broken(broken):
    """Each class's docstring is what the message must say."""
    with pytest.raises(DAGError, match=broken.__doc__):
        check_dag(broken())


def test_a_space_that_has_no_one_hot_form_must_bring_its_own():
    dag = Words()
    dag.state_space = spaces.Box(0, 2, (dag.length,), dtype=np.int64)
    with pytest.raises(TypeError, match="write observation_space, observe and states_of"):
        check_dag(dag)


def test_a_wrong_log_partition_is_caught():
    class Wrong(Hypergrid):
        def log_partition(self):
            return 3.0

    with pytest.raises(DAGError, match=r"log_partition\(\) is 3.0, but log Σ R"):
        check_dag(Wrong(2, 4))


def test_a_trajectory_longer_than_promised_is_caught():
    class Wrong(Hypergrid):
        def max_trajectory_length(self):
            return super().max_trajectory_length() - 1

    with pytest.raises(DAGError, match=r"max_trajectory_length\(\) is 6, but one .* has 7 actions"):
        check_dag(Wrong(2, 4))


def test_observations_outside_their_space_are_caught():
    class Wrong(Hypergrid):
        def observe(self, states):
            return 2 * super().observe(states)

    with pytest.raises(DAGError, match="observation does not lie in observation_space"):
        check_dag(Wrong(2, 4))


# ---- what any environment sees of it ---------------------------------------------------------

SEEN = [
    MaskOfIntegers, MaskTooNarrow, BackwardMaskInStart, StepReturnsIntegers, SharedStep,
    SharedMask, SharedStart, StartOutside, FloatStates, NoStop, StepWritesIntoItsStates,
    RandomReward, RewardOfTheBatch, RewardWrites, ComplexReward,
]  # fmt: skip


@pytest.mark.parametrize("broken", SEEN, ids=lambda cls: cls.__name__)
def test_an_environment_of_a_broken_dag_says_so_in_its_first_steps(broken):
    with pytest.raises(ValueError, match=broken.__doc__):
        walk(GFNVectorEnv(broken(), 16, autoreset_mode="SameStep"), 40)


class MasksChangeShape(Strides):
    def action_mask(self, states):
        mask = super().action_mask(states)
        return mask if not states.any() else mask[:, :3]


class StatesBecomeFloats(Strides):
    def step(self, states, actions):
        nexts, done = super().step(states, actions)
        return (nexts / 1 if nexts.sum() > 3 * len(nexts) else nexts), done


@pytest.mark.parametrize(
    ("broken", "message"),
    [(MasksChangeShape, "action_mask must be bool"), (StatesBecomeFloats, "as integers")],
)
def test_the_first_steps_are_looked_at_beyond_s0(broken, message):
    with pytest.raises(ValueError, match=message):
        walk(GFNVectorEnv(broken(), 16, autoreset_mode="SameStep"), 40)


@pytest.mark.parametrize("name", GOOD)
def test_an_environment_of_a_good_dag_walks(name):
    walk(GFNVectorEnv(GOOD[name], 4, autoreset_mode="SameStep"), 30)


def walk(env, n):
    generator = np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(n):
        env.step(sample_legal_actions(env.action_masks(), generator))


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (Strides, r"write Strides\(…\)"),
        ("HypergridGFN-v0", "gymnasium.make makes an environment of an id"),
        (GFNEnv(Strides()), r"pass its \.unwrapped\.dag"),
        (None, "must be a gfn_gym.DAG object"),
        (3, "must be a gfn_gym.DAG object"),
    ],
)
@pytest.mark.parametrize("use", [GFNEnv, GFNVectorEnv, check_dag, solve, MDP])
def test_what_is_not_a_dag_is_refused_with_what_to_pass(use, wrong, hint):
    with pytest.raises(TypeError, match=f"dag=.*{hint}"):
        use(wrong)
