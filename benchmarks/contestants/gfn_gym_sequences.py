"""GFN Gym's words and structures: random transitions per CPU second, P_B included, or rewards.

`--what simulator` is the batch that agents and environments step: rows, masks, log P_B. `--what
vector` is `gymnasium.make_vec`, which hands out observations, rewards and masks besides. Every step
draws its actions from the mask; log R is 0. `--what reward` asks for log R of random objects, none
twice, by the true function.
"""

import itertools

from common import measure, report, stepping_arguments, use_one_thread

use_one_thread()

import gymnasium  # noqa: E402
import numpy as np  # noqa: E402

import gfn_gym  # noqa: E402
from gfn_gym.env import Simulator  # noqa: E402
from gfn_gym.envs.rna.binding import RNABinding  # noqa: E402
from gfn_gym.envs.rna.fold import RNAFold  # noqa: E402
from gfn_gym.mdp import MDP, sample_legal_actions  # noqa: E402

STEPS = 20  # of one measured call
BASES_60 = "GGCUAGCAUUACGGAUCCGUAAGCUUCGAUAGGCUUAACGCUAGCUUGGAUCCAAUGCCU"
DAGS = {
    "binding, any order": lambda: RNABinding(cache_size=0),
    "binding, append": lambda: RNABinding(order="append", cache_size=0),
    "binding, both ends": lambda: RNABinding(order="both_ends", cache_size=0),
    "fold, 30 bases": RNAFold,
    "fold, 60 bases": lambda: RNAFold(BASES_60),
}


def simulated(dag, n, generator):
    """Yield, without end, how many transitions a step of n constructions makes."""
    simulator = Simulator(MDP(dag), n)
    while True:
        transition = simulator.step(sample_legal_actions(simulator.mask, generator))
        simulator.finish_step(transition.done)
        yield n


def vectorised(dag, n, generator, observation):
    """The same of the vector environment, by the mode that resets within the step."""
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    env = gfn_gym.GFNVectorEnv(dag, n, autoreset_mode=mode, observation=observation)
    _, info = env.reset()
    while True:
        *_, info = env.step(sample_legal_actions(info["action_mask"], generator))
        yield n


def rewarded(dag, n, generator):
    """Ask for log R of n finished random objects at a time."""
    mdp = MDP(dag)
    states, done = dag.initial_states(max(n, 1000)), np.zeros(max(n, 1000), dtype=bool)
    while not done.all():
        left = np.flatnonzero(~done)
        mask = dag.action_mask(states[left])
        states[left], done[left] = mdp.dag.step(states[left], sample_legal_actions(mask, generator))
    for start in itertools.cycle(range(0, len(states) - n + 1, n)):
        dag.log_reward(states[start : start + n])
        yield n


def main() -> None:
    parser = stepping_arguments(__doc__)
    parser.add_argument("--what", choices=("simulator", "vector", "reward"), default="simulator")
    parser.add_argument("--dag", choices=DAGS, default="binding, any order")
    parser.add_argument("--observation", choices=("onehot", "state"), default="onehot")
    args = parser.parse_args()
    dag, generator = DAGS[args.dag](), np.random.default_rng(args.seed)
    if args.what == "reward":
        steps = rewarded(dag, args.num_envs, generator)
    else:
        dag.log_reward = lambda states: np.zeros(len(states))
        stepped = (dag, args.num_envs, generator)
        if args.what == "simulator":
            steps = simulated(*stepped)
        else:
            steps = vectorised(*stepped, args.observation)
    n_steps = 1 if args.what == "reward" else STEPS
    measured = measure(lambda: sum(itertools.islice(steps, n_steps)), args.seconds)
    report("gfn-gym", f"{dag!r}, {args.what}", args.num_envs, measured)


if __name__ == "__main__":
    main()
