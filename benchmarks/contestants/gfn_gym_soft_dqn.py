"""GFN Gym's agents on the 20^4 hypergrid: training rate and exact distance.

Writes a CSV with a row per evaluation: trajectories, transitions, cpu_seconds (inside `.learn()`,
without evaluation), total_variation (exact), log_z_error; prints one line of JSON.
"""

import argparse
import csv
import json
import resource
from collections.abc import Callable
from pathlib import Path

from common import HEIGHT, NDIM, positive, use_one_thread

use_one_thread()

import gymnasium  # noqa: E402
import torch  # noqa: E402

import gfn_gym  # noqa: E402
from gfn_gym.agents import EvaluationCallback, MunchausenDQN, SoftDQN, exact_metrics  # noqa: E402
from gfn_gym.evaluation import Policy  # noqa: E402

torch.set_num_threads(1)
AGENTS = {"soft": SoftDQN, "munchausen": MunchausenDQN}


def main() -> None:
    args = arguments()
    env = gymnasium.make("HypergridGFN-v0", ndim=NDIM, height=HEIGHT, reward=args.reward)
    overrides = {} if args.n_envs is None else {"n_envs": args.n_envs}
    if args.new_priority is not None:
        overrides["new_priority"] = args.new_priority
    model = AGENTS[args.agent](
        "MlpPolicy", env, preset=args.preset, seed=args.seed, device="cpu", **overrides
    )
    torch.set_float32_matmul_precision(args.precision)
    evaluation = EvaluationCallback(
        (max(1, args.trajectories // args.evaluations), "episode"), metrics=precise(model)
    )
    model.learn(total_trajectories=args.trajectories, callback=evaluation)
    rows = [{**row, "transitions": row["timesteps"]} for row in evaluation.history]
    if args.out is not None:
        write(args.out, rows)
    last = rows[-1]
    line = {
        "library": "gfn-gym",
        "version": gfn_gym.__version__,
        "what": f"{type(model).__name__}, preset {args.preset}, {model.n_envs} environments",
        "seed": args.seed,
        "trajectories": last["trajectories"],
        "transitions": last["transitions"],
        "cpu_seconds": last["cpu_seconds"],
        "transitions_per_cpu_second": round(last["transitions"] / last["cpu_seconds"], 1),
        "gradient_steps": model._n_updates,
        "total_variation": last["total_variation"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(line), flush=True)


def precise(model: SoftDQN) -> Callable[[Policy], dict[str, float]]:
    """The exact distances, in full precision whatever training has."""
    metrics = exact_metrics(model)

    def evaluate(policy: Policy) -> dict[str, float]:
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            return metrics(policy)
        finally:
            torch.set_float32_matmul_precision(precision)

    return evaluate


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agent", choices=AGENTS, default="soft")
    parser.add_argument("--preset", choices=("fast", "paper"), default="fast")
    parser.add_argument("--reward", choices=("standard", "hard"), default="standard")
    parser.add_argument("--trajectories", type=positive, default=14_500)
    parser.add_argument("--evaluations", type=positive, default=20)
    parser.add_argument("--n-envs", type=positive, help="instead of the preset's")
    parser.add_argument("--new-priority", choices=("max", "td_error"), help="likewise")
    parser.add_argument(
        "--precision",
        choices=("highest", "medium"),
        default="highest",
        help="of products during training; they are evaluated at the highest",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="CSV of the curve")
    return parser.parse_args()


def write(path: Path, rows: list[dict[str, float]]) -> None:
    columns = ("trajectories", "transitions", "cpu_seconds", "total_variation", "log_z_error")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
