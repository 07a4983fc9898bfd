"""Five nodes: our SoftDQN and gfnx's environment under modified detailed balance, in one run.

    python benchmarks/network_training.py               # seven CPU minutes a seed

Both get the same 100 observations and the same score (BGe, uniform prior), and their policies are
judged by the exact total variation over the 29,281 graphs. Contestants take turns seed by seed,
pinned to one core. Curves are kept in benchmarks/results/network_training/, and every end in
benchmarks/results/network_training.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from arena import OURS, PEERS, RESULTS, Line, require_peers, run, save
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.evaluation import target_distribution
from gfn_gym.graph import enumerate_graph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--trajectories", type=int, default=400_000, help="of GFN Gym")
    parser.add_argument("--iterations", type=int, default=3_000, help="of gfnx, 128 trajectories")
    parser.add_argument("--data-seed", type=int, default=0)
    parser.add_argument("--core", type=int, default=0)
    args = parser.parse_args()
    require_peers()
    curves = RESULTS / "network_training"
    curves.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        data, graph = Path(folder) / "data.npy", Path(folder) / "graph.npz"
        np.save(data, erdos_renyi_data(seed=args.data_seed)[0])
        write_graph(BayesianNetwork(np.load(data)), graph)
        for seed in args.seeds:
            common = ("--data", data, "--seed", seed)
            count = ("--trajectories", args.trajectories, "--out", curves / f"ours-{seed}.csv")
            line = run(OURS, "gfn_gym_network.py", *common, *count, core=args.core)
            lines.append({"contestant": "GFN Gym SoftDQN", "seed": seed, **line})
            count = ("--iterations", args.iterations, "--out", curves / f"gfnx-{seed}.csv")
            line = run(PEERS, "gfnx_network_db.py", *common, "--graph", graph, *count,
                       core=args.core)  # fmt: skip
            lines.append({"contestant": "gfnx, modified DB", "seed": seed, **line})
            path = save("network_training", lines)
    print("| | seed | trajectories | CPU s | total variation |")
    print("| --- | --- | --- | --- | --- |")
    for line in lines:
        print(f"| {line['contestant']} | {line['seed']} | {line['trajectories']:,} | "
              f"{line['cpu_seconds']:.1f} | {line['total_variation']:.4f} |")  # fmt: skip
    print(f"\nwrote {path}")


def write_graph(dag: BayesianNetwork, path: Path) -> None:
    """Write the states, what is legal, R/Z, and the edges layer by layer, for gfnx's evaluation."""
    graph = enumerate_graph(dag)
    order = np.argsort(dag.adjacency(graph.states[graph.parents]).sum(axis=(1, 2)), kind="stable")
    sizes = dag.adjacency(graph.states[graph.parents[order]]).sum(axis=(1, 2))
    target = np.zeros(len(graph.states))
    target[graph.objects] = target_distribution(graph)
    np.savez(
        path,
        states=graph.states,
        legal=dag.action_mask(graph.states),
        target=target,
        log_reward=dag.log_reward(graph.states),
        initial=np.flatnonzero(~graph.states.any(axis=1))[0],
        parents=graph.parents[order],
        actions=graph.actions[order],
        children=graph.children[order],
        layers=np.searchsorted(sizes, np.arange(sizes.max() + 2)),
    )


if __name__ == "__main__":
    main()
