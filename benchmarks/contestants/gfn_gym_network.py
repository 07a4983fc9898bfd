"""GFN Gym's SoftDQN on five nodes, preset "fast" with the DAG's potential: the exact distance."""

import argparse
import csv
import json
from importlib.metadata import version

from common import positive, use_one_thread

use_one_thread()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from gfn_gym import GFNEnv  # noqa: E402
from gfn_gym.agents import EvaluationCallback, SoftDQN  # noqa: E402
from gfn_gym.envs.bayesian_network import BayesianNetwork  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="observations, a .npy file")
    parser.add_argument("--trajectories", type=positive, default=400_000)
    parser.add_argument("--evaluations", type=positive, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="the curve, a CSV")
    args = parser.parse_args()
    torch.set_num_threads(1)
    env = GFNEnv(BayesianNetwork(np.load(args.data)), potential="dag")
    model = SoftDQN("auto", env, preset="fast", seed=args.seed, device="cpu")
    evaluation = EvaluationCallback((args.trajectories // args.evaluations, "episode"))
    model.learn(total_trajectories=args.trajectories, callback=evaluation)
    columns = ("trajectories", "cpu_seconds", "total_variation")
    rows = [{name: row[name] for name in columns} for row in evaluation.history]
    with open(args.out, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    what = f"SoftDQN, fast, potential, {model.n_envs} environments"
    line = {"library": "gfn-gym", "version": version("gfn-gym"), "what": what, **rows[-1]}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
