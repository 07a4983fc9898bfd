"""gfnx on Bayesian networks: modified detailed balance on five nodes, and its exact distance.

Our own loop over gfnx 0.0.1's environment, BGe score and rollout. The loss is the modified
detailed balance of arXiv:2202.13903, which its `delta_score` is there for: for an edge G → G',

    log R(G')/R(G) + log P_B + log P_F(stop|G) − log P_F(G'|G) − log P_F(stop|G') = 0.

Each iteration trains on the transitions of 128 trajectories; MLP 2×256, Huber, Adam with a rate
that falls linearly from 1e-3, ε from 1 to 0.05 over the first half. Iterations are compiled into
one loop. `--graph` is what the arena has written of the states (a .npz file): evaluation pushes
flow through them, in float64 and off the clock.
"""

import argparse
import csv
import json
import time
from importlib.metadata import version
from typing import Any

from common import positive, use_one_thread

use_one_thread()

import equinox as eqx  # noqa: E402
import gfnx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from gfnx_networks_and_spins import make_network  # noqa: E402

TRAJECTORIES = 128
LEARNING_RATE = 1e-3


class ModifiedDetailedBalance:
    """The loop: a rollout of 128 trajectories and a gradient step on their transitions."""

    def __init__(self, data: np.ndarray, iterations: int, seed: int):
        self.env, self.params = make_network(data)
        self.d, self.iterations = data.shape[1], iterations
        actions = self.env.action_space.n
        network = eqx.nn.MLP(self.d**2, actions, 256, 2, key=jax.random.PRNGKey(seed))
        self.weights, self.static = eqx.partition(network, eqx.is_array)
        self.optimizer = optax.adam(optax.linear_schedule(LEARNING_RATE, 0.0, iterations))

    def logits(self, weights: Any, adjacency: jax.Array) -> jax.Array:
        """[n, d, d] → [n, d² + 1]."""
        flat = adjacency.reshape(len(adjacency), -1).astype(jnp.float32)
        return jax.vmap(eqx.combine(weights, self.static))(flat)

    def log_probs(self, weights: Any, states: Any) -> jax.Array:
        illegal = self.env.get_invalid_mask(states, self.params)
        logits = self.logits(weights, states.adjacency_matrix)
        return jax.nn.log_softmax(jnp.where(illegal, -1e30, logits), axis=-1)

    def _behaviour(self, key: jax.Array, adjacency: jax.Array, policy: Any) -> tuple[Any, dict]:
        weights, epsilon = policy
        explore = jax.random.bernoulli(key, epsilon, (len(adjacency), 1))
        return jnp.where(explore, 0.0, self.logits(weights, adjacency)), {}

    def _loss(self, weights: Any, data: gfnx.utils.TrajectoryData) -> jax.Array:
        flat = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
        states = jax.tree.map(lambda x: flat(x[:, :-1]), data.state)
        nexts = jax.tree.map(lambda x: flat(x[:, 1:]), data.state)
        actions, stop = flat(data.action[:, :-1]), self.env.stop_action
        counted = (actions != stop) & ~states.is_terminal
        added = jnp.where(counted, actions, 0)
        delta = self.env.reward_module.delta_score(states, added, nexts, self.params)
        log_backward = -jnp.log(jnp.maximum(nexts.adjacency_matrix.sum(axis=(1, 2)), 1))
        here, there = self.log_probs(weights, states), self.log_probs(weights, nexts)
        forward = jnp.take_along_axis(here, added[:, None], axis=1)[:, 0]
        residual = delta + log_backward + here[:, stop] - forward - there[:, stop]
        losses = optax.huber_loss(jnp.where(counted, residual, 0.0))
        return losses.sum() / jnp.maximum(counted.sum(), 1)

    def iteration(self, step: Any, carry: Any) -> Any:
        """What is jitted."""
        key, weights, optimizer_state = carry
        key, rollout_key = jax.random.split(key)
        epsilon = jnp.maximum(1.0 - 1.9 * step / self.iterations, 0.05)
        data, _ = gfnx.utils.forward_rollout(
            rollout_key, TRAJECTORIES, self._behaviour, (weights, epsilon), self.env, self.params
        )
        gradient = jax.grad(self._loss)(weights, data)
        updates, optimizer_state = self.optimizer.update(gradient, optimizer_state, weights)
        return key, optax.apply_updates(weights, updates), optimizer_state


def total_variation(loop: ModifiedDetailedBalance, weights: Any, graph: Any) -> float:
    """Half the summed |P − R/Z| over all graphs: flow is pushed from layer to layer."""
    n, d = len(graph["states"]), loop.d
    logits = np.asarray(loop.logits(weights, jnp.asarray(graph["states"]).reshape(n, d, d)))
    logits = np.where(graph["legal"], logits.astype(np.float64), -np.inf)
    policy = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    flow = np.zeros(n)
    flow[graph["initial"]] = 1.0
    for begin, end in zip(graph["layers"][:-1], graph["layers"][1:], strict=True):
        edges = slice(begin, end)
        parents, actions = graph["parents"][edges], graph["actions"][edges]
        np.add.at(flow, graph["children"][edges], flow[parents] * policy[parents, actions])
    return float(np.abs(flow * policy[:, -1] - graph["target"]).sum() / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="observations, a .npy file")
    parser.add_argument("--graph", required=True, help="the states, a .npz file")
    parser.add_argument("--iterations", type=positive, default=3_000)
    parser.add_argument("--evaluations", type=positive, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="the curve, a CSV")
    args = parser.parse_args()
    loop = ModifiedDetailedBalance(np.load(args.data), args.iterations, args.seed)
    graph = dict(np.load(args.graph))
    advance = jax.jit(
        lambda first, last, start: jax.lax.fori_loop(first, last, loop.iteration, start)
    )
    carry = (jax.random.PRNGKey(args.seed), loop.weights, loop.optimizer.init(loop.weights))
    jax.block_until_ready(advance(jnp.int32(0), jnp.int32(1), carry))  # compiled
    done, spent, rows = 0, 0.0, []
    for part in range(1, args.evaluations + 1):
        last, clock = args.iterations * part // args.evaluations, time.process_time()
        carry = jax.block_until_ready(advance(jnp.int32(done), jnp.int32(last), carry))
        done, spent = last, spent + time.process_time() - clock
        distance = total_variation(loop, carry[1], graph)
        counts = {"trajectories": done * TRAJECTORIES, "cpu_seconds": round(spent, 2)}
        rows.append({**counts, "total_variation": distance})
    with open(args.out, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    score = loop.env.reward_module.log_reward
    adjacency = jnp.asarray(graph["states"]).reshape(-1, loop.d, loop.d)
    states = loop.env.get_init_state(len(adjacency)).replace(adjacency_matrix=adjacency > 0)
    theirs = np.asarray(score(states, loop.params), dtype=np.float64)
    off = np.abs(theirs - theirs[graph["initial"]] - graph["log_reward"]).max()
    line = {
        "library": "gfnx",
        "version": version("gfnx"),
        "what": "modified DB, our loop over gfnx's environment and score",
        **rows[-1],
        "score_difference": float(off),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
