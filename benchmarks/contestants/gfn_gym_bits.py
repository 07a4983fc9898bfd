"""GFN Gym's agents on bit sequences: training iterations per CPU second.

One iteration is 16 trajectories and a gradient step on 256 replayed transitions, as in the paper.
"""

import argparse
import json
import time
from importlib.metadata import version
from typing import Any

from common import positive, use_one_thread

use_one_thread()

import torch  # noqa: E402

from gfn_gym import GFNEnv  # noqa: E402
from gfn_gym.agents import MunchausenDQN, SoftDQN  # noqa: E402
from gfn_gym.envs.bit_sequence import BitSequence  # noqa: E402

AGENTS = {"soft": SoftDQN, "munchausen": MunchausenDQN}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agent", choices=sorted(AGENTS), default="munchausen")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--n", type=positive, default=120)
    parser.add_argument("--k", type=positive, default=8)
    parser.add_argument("--n-envs", type=positive, help="instead of the preset's number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=positive, default=64)
    args = parser.parse_args()
    torch.set_num_threads(1)
    chosen: dict[str, Any] = {} if args.n_envs is None else {"n_envs": args.n_envs}
    model = AGENTS[args.agent](
        "TransformerPolicy", GFNEnv(BitSequence(args.n, args.k)), preset=args.preset,
        seed=args.seed, device="cpu", learning_starts=(256, "episode"), **chosen,
    )  # fmt: skip
    model.learn(total_trajectories=384)  # warm
    updates, trajectories = model._n_updates, model._episode_num
    wall, cpu = time.perf_counter(), time.process_time()
    model.learn(total_trajectories=16 * args.iterations, reset_num_timesteps=False)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    updates = model._n_updates - updates
    line = {
        "library": "gfn-gym",
        "version": version("gfn-gym"),
        "what": f"{type(model).__name__}, {args.preset} preset, {model.n_envs} environments",
        "iterations": updates,
        "trajectories": model._episode_num - trajectories,
        "cpu_seconds": round(cpu, 4),
        "wall_seconds": round(wall, 4),
        "iterations_per_cpu_second": round(updates / cpu, 3),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
