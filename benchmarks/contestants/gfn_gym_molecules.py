"""GFN Gym's molecules: random trajectories per CPU second, including canonical rows and P_B.

`--api simulator` is the batch that agents and environments step: rows, masks, log P_B. `--api
vector` is `gymnasium.make_vec`, which also returns observations, rewards and masks. Every step
samples its actions from the mask. The reward is constant, so that its cost is not measured.
"""

import json
from importlib.metadata import version

from common import measure, stepping_arguments, use_one_thread

use_one_thread()

import gymnasium  # noqa: E402
import numpy as np  # noqa: E402

import gfn_gym  # noqa: E402
from gfn_gym.env import Simulator  # noqa: E402
from gfn_gym.envs.molecule.dag import Molecule  # noqa: E402
from gfn_gym.mdp import MDP, sample_legal_actions  # noqa: E402

STEPS = 20  # of one measured call


def constant(states):
    return np.zeros(len(states))


def simulated(dag, n, generator):
    """Yield endlessly how many of n constructions each step has ended."""
    simulator = Simulator(MDP(dag), n)
    while True:
        transition = simulator.step(sample_legal_actions(simulator.mask, generator))
        simulator.finish_step(transition.done)
        yield int(transition.done.sum())


def vectorised(dag, n, generator, observation):
    """The same for the vector environment, in the mode that resets within the step."""
    env = gfn_gym.GFNVectorEnv(
        dag,
        n,
        autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
        observation=observation,
    )
    _, info = env.reset()
    while True:
        _, _, terminated, _, info = env.step(sample_legal_actions(info["action_mask"], generator))
        yield int(terminated.sum())


def main() -> None:
    parser = stepping_arguments(__doc__)
    parser.add_argument("--api", choices=("simulator", "vector"), default="simulator")
    parser.add_argument("--blocks", default="pdb105", help="the vocabulary; '' for our own")
    parser.add_argument("--observation", choices=("onehot", "state"), default="state")
    args = parser.parse_args()
    dag = Molecule(args.blocks or None, constant)
    generator = np.random.default_rng(args.seed)
    if args.api == "simulator":
        steps = simulated(dag, args.num_envs, generator)
    else:
        steps = vectorised(dag, args.num_envs, generator, args.observation)
    ended: list[int] = []

    def run() -> int:
        ended.append(sum(next(steps) for _ in range(STEPS)))
        return STEPS * args.num_envs

    measured = measure(run, args.seconds)
    trajectories = sum(ended[2:])  # those of the warm-up don't count
    line = {
        "library": "gfn-gym",
        "version": version("gfn-gym"),
        "what": f"{dag!r}, {args.api}",
        "num_envs": args.num_envs,
        "trajectories": trajectories,
        "transitions": measured.transitions,
        "cpu_seconds": round(measured.cpu_seconds, 4),
        "trajectories_per_cpu_second": round(trajectories / measured.cpu_seconds, 1),
        "transitions_per_cpu_second": round(measured.transitions / measured.cpu_seconds, 1),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
