"""GFN Gym's Bayesian networks and Ising models: transitions per CPU second.

`--api simulator` is the batch that agents and environments step: rows, masks, log P_B, rewards.
`--api vector` is `gymnasium.make_vec` with SAME_STEP, which hands out observations and masks
besides. Every step draws its actions from the mask. Networks stop only where no edge can be added
(`--stop forced`) or whenever stop is drawn (`--stop uniform`).
"""

from collections.abc import Iterator

from common import measure, report, stepping_arguments, use_one_thread

use_one_thread()

import gymnasium  # noqa: E402
import numpy as np  # noqa: E402

import gfn_gym  # noqa: E402
from gfn_gym.env import Simulator  # noqa: E402
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data  # noqa: E402
from gfn_gym.envs.ising import Ising  # noqa: E402
from gfn_gym.mdp import MDP, sample_legal_actions  # noqa: E402

STEPS = 50  # of one measured call
DOMAINS = {
    "5 nodes": BayesianNetwork,
    "20 nodes": lambda: BayesianNetwork(erdos_renyi_data(20)[0], max_parents=4),
    "9×9 spins": Ising,
    "10×10 spins": lambda: Ising(10),
    "9×9 spins, raster": lambda: Ising(order="raster"),
}


def simulated(dag: gfn_gym.DAG, n: int, draw) -> Iterator[None]:
    simulator = Simulator(MDP(dag), n)
    while True:
        transition = simulator.step(draw(simulator.mask))
        simulator.finish_step(transition.done)
        yield


def vectorised(dag: gfn_gym.DAG, n: int, draw) -> Iterator[None]:
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    env = gfn_gym.GFNVectorEnv(dag, n, autoreset_mode=mode)
    _, info = env.reset()
    while True:
        _, _, _, _, info = env.step(draw(info["action_mask"]))
        yield


def main() -> None:
    parser = stepping_arguments(__doc__)
    parser.add_argument("--api", choices=("simulator", "vector"), default="simulator")
    parser.add_argument("--domain", choices=tuple(DOMAINS), default="5 nodes")
    args = parser.parse_args()
    dag = DOMAINS[args.domain]()
    generator = np.random.default_rng(args.seed)
    forced = dag.stop_action is not None and args.stop == "forced"

    def draw(mask):
        if forced:
            mask = mask.copy()
            mask[mask[:, :-1].any(axis=1), -1] = 0
        return sample_legal_actions(mask, generator)

    make_steps = simulated if args.api == "simulator" else vectorised
    steps = make_steps(dag, args.num_envs, draw)

    def run() -> int:
        for _ in range(STEPS):
            next(steps)
        return STEPS * args.num_envs

    what = f"{dag!r}, {args.api}, {args.stop} stop"
    report("gfn-gym", what, args.num_envs, measure(run, args.seconds))


if __name__ == "__main__":
    main()
