"""gfnx's SoftDQN on the 20^4 hypergrid: training rate and exact distance.

SoftDQN is a script in gfnx's repository (baselines/soft_dqn_hypergrid.py), not part of its
package. By default this file runs its own loop on the installed gfnx, with that script's settings:

- 16 on-policy trajectories per iteration by `forward_rollout`, no replay. One gradient step on
  all of their transitions, the padding masked out: 16 x 80 rows, about 600 of them real. That is
  not the paper's 256 transitions from a replay buffer.
- An MLP 80-256-256 with ReLU, dueling: Q(s, .) = V(s) + log softmax(A(s, .)) over the legal
  actions. Behaviour softmax(A), with probability 1e-3 per step uniform.
- Target log R(x) on stop, else log P_B + V_target(s'), P_B uniform. Huber loss, stops weighted
  by 5, averaged over the real transitions. Adam 1e-3, target network moved by 0.25 each time.

The script's metrics and logging are left out, so this loop should not be slower than the script.
Iterations run inside one jitted fori_loop per evaluation interval; compilation and evaluation are
off the clock.

`--gfnx-source DIR` runs the original script from a checkout instead; see gfnx_script.py.

The CSV has a row per evaluation: iteration, trajectories, transitions, cpu_seconds (training
only), total_variation (exact, of the online network's policy without exploration).
"""

import argparse
import csv
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import HEIGHT, NDIM, REWARD, positive, use_one_thread
from exact import all_states, target_distribution, terminal_distribution, total_variation
from gfnx_script import ScriptError, run_script, saved_layers

use_one_thread()

import gfnx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

LABEL = "gfnx SoftDQN loop, written after its repository's script"
SCRIPT_LABEL = "gfnx SoftDQN, its repository's script"

N_TRAJECTORIES = 16
HIDDEN = 256
LEARNING_RATE = 1e-3
LEAF_WEIGHT = 5.0
EXPLORATION = 1e-3
TARGET_RATE = 0.25

Parameters = list[dict[str, jax.Array]]


class Training(NamedTuple):
    """The state passed from one iteration to the next."""

    key: jax.Array
    online: Parameters
    target: Parameters
    optimizer_state: Any
    transitions: jax.Array


def initial_parameters(key: jax.Array, sizes: tuple[int, ...]) -> Parameters:
    """Weights and biases uniform within 1/sqrt(inputs), as equinox's Linear starts them."""
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        key, *keys = jax.random.split(key, 3)
        weight, bias = (
            jax.random.uniform(k, shape, minval=-(n_in**-0.5), maxval=n_in**-0.5)
            for k, shape in zip(keys, ((n_out, n_in), (n_out,)), strict=True)
        )
        layers.append({"weight": weight, "bias": bias})
    return layers


def network(parameters: Parameters, observations: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Advantages [n, n_actions] and values [n]."""
    x = observations
    for layer in parameters[:-1]:
        x = jax.nn.relu(x @ layer["weight"].T + layer["bias"])
    x = x @ parameters[-1]["weight"].T + parameters[-1]["bias"]
    return x[:, :-1], x[:, -1]


class SoftDQN:
    """The loop: a rollout, a gradient step, a step of the target network."""

    def __init__(self) -> None:
        reward = gfnx.GeneralHypergridRewardModule(*REWARD)
        self.env = gfnx.HypergridEnvironment(reward, dim=NDIM, side=HEIGHT)
        self.env_params = self.env.init(jax.random.PRNGKey(0))
        self.optimizer = optax.adam(LEARNING_RATE)

    def start(self, seed: int) -> Training:
        """A fresh network; the target begins as its copy."""
        key, network_key = jax.random.split(jax.random.PRNGKey(seed))
        sizes = (NDIM * HEIGHT, HIDDEN, HIDDEN, self.env.action_space.n + 1)
        online = initial_parameters(network_key, sizes)
        target = jax.tree.map(jnp.copy, online)
        return Training(key, online, target, self.optimizer.init(online), jnp.zeros((), jnp.int32))

    def _behaviour(
        self, key: jax.Array, observations: jax.Array, online: Parameters
    ) -> tuple[jax.Array, dict[str, Any]]:
        advantages, _ = network(online, observations)
        explore = jax.random.bernoulli(key, EXPLORATION, (len(observations), 1))
        return jnp.where(explore, 0.0, advantages), {}

    def _targets(self, batch: gfnx.utils.TransitionData, target: Parameters) -> jax.Array:
        """log R on stop, else log P_B + V(s'); [n]."""
        _, next_values = network(target, batch.next_obs)
        backward_legal = ~self.env.get_invalid_backward_mask(batch.next_state, self.env_params)
        log_backward = -jnp.log(jnp.maximum(backward_legal.sum(axis=-1), 1))
        return jnp.where(batch.done, batch.log_gfn_reward, log_backward + next_values)

    def _loss(
        self, online: Parameters, batch: gfnx.utils.TransitionData, targets: jax.Array
    ) -> jax.Array:
        """Huber loss of the chosen actions' Q, over the real transitions."""
        advantages, values = network(online, batch.obs)
        legal = ~self.env.get_invalid_mask(batch.state, self.env_params)
        log_policy = jax.nn.log_softmax(jnp.where(legal, advantages, -1e30), axis=-1)
        chosen = jnp.take_along_axis(log_policy, batch.action[:, None], axis=-1).squeeze(-1)
        real = ~batch.pad
        losses = optax.losses.huber_loss(
            jnp.where(real, values + chosen, 0.0), jnp.where(real, targets, 0.0)
        )
        weighted = jnp.where(batch.done, LEAF_WEIGHT, 1.0) * losses
        return weighted.sum() / real.sum()

    def iteration(self, _: int, training: Training) -> Training:
        """What is jitted."""
        key, rollout_key = jax.random.split(training.key)
        trajectories, _ = gfnx.utils.forward_rollout(
            rollout_key,
            N_TRAJECTORIES,
            self._behaviour,
            training.online,
            self.env,
            self.env_params,
        )
        batch = gfnx.utils.split_traj_to_transitions(trajectories)
        targets = self._targets(batch, training.target)
        gradients = jax.grad(self._loss)(training.online, batch, targets)
        updates, optimizer_state = self.optimizer.update(gradients, training.optimizer_state)
        online = optax.apply_updates(training.online, updates)
        target = optax.incremental_update(online, training.target, TARGET_RATE)
        transitions = training.transitions + (~batch.pad).sum(dtype=jnp.int32)
        return Training(key, online, target, optimizer_state, transitions)


def log_policy_of_all_states(online: Parameters, chunk: int = 16_000) -> np.ndarray:
    """log pi(. | s) of every state as numpy, -inf where illegal; [HEIGHT ** NDIM, NDIM + 1]."""
    states = all_states(NDIM, HEIGHT)
    logits = []
    for begin in range(0, len(states), chunk):
        observations = np.eye(HEIGHT, dtype=np.float32)[states[begin : begin + chunk]]
        advantages, _ = network(online, observations.reshape(-1, NDIM * HEIGHT))
        logits.append(np.asarray(advantages, dtype=np.float64))
    masked = np.concatenate(logits)
    masked[:, :NDIM][states == HEIGHT - 1] = -np.inf
    masked -= masked.max(axis=1, keepdims=True)
    return masked - np.log(np.exp(masked).sum(axis=1, keepdims=True))


def exact_total_variation(online: Parameters) -> float:
    """Between what the network's policy samples and R / Z."""
    reached = terminal_distribution(log_policy_of_all_states(online), NDIM, HEIGHT)
    return total_variation(reached, target_distribution(NDIM, HEIGHT, REWARD))


def train(seed: int, iterations: int, evaluate_every: int) -> Iterator[dict[str, Any]]:
    """Rows of the CSV, the first of the untrained network."""
    agent = SoftDQN()
    training = agent.start(seed)
    advance = jax.jit(
        lambda n, start: jax.lax.fori_loop(0, n, agent.iteration, start), donate_argnums=1
    )
    compiled = advance.lower(jnp.int32(0), training).compile()
    cpu_seconds, done = 0.0, 0
    while True:
        yield {
            "iteration": done,
            "trajectories": done * N_TRAJECTORIES,
            "transitions": int(training.transitions),
            "cpu_seconds": round(cpu_seconds, 3),
            "total_variation": exact_total_variation(training.online),
        }
        if done >= iterations:
            return
        step = min(evaluate_every, iterations - done)
        before = time.process_time()
        training = jax.block_until_ready(compiled(jnp.int32(step), training))
        cpu_seconds += time.process_time() - before
        done += step


def train_by_script(
    source: Path, seed: int, iterations: int, evaluate_every: int
) -> list[dict[str, Any]]:
    """The same rows from the repository's script, exact distance in the last one only."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = run_script(source, folder, seed, iterations, evaluate_every)
        rows[-1]["total_variation"] = exact_total_variation(saved_layers(folder))
    return rows


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Write each row as it comes, so that a stopped run leaves its curve; return the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    last: dict[str, Any] = {}
    with path.open("w", newline="") as file:
        for row in rows:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if not last:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            last = row
    return last


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=positive, default=5000, help="of 16 trajectories each")
    parser.add_argument("--evaluate-every", type=positive, default=250, help="iterations")
    parser.add_argument("--out", type=Path, default=Path("runs/gfnx_soft_dqn.csv"))
    parser.add_argument("--gfnx-source", type=Path, help="run the script of this checkout")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    settings = (arguments.seed, arguments.iterations, arguments.evaluate_every)
    rows: Iterable[dict[str, Any]]
    if arguments.gfnx_source is None:
        release, what, rows = version("gfnx"), LABEL, train(*settings)
    else:
        release, what = f"checkout {arguments.gfnx_source.resolve().name}", SCRIPT_LABEL
        try:
            rows = train_by_script(arguments.gfnx_source, *settings)
        except ScriptError as error:
            sys.exit(f"error: {error}")
    last = write_csv(arguments.out, rows)
    summary = {"library": "gfnx", "version": release, "what": what, **last}
    if last["transitions"]:
        rate = last["transitions"] / last["cpu_seconds"]
        summary["transitions_per_cpu_second"] = round(rate, 1)
    print(json.dumps(summary), flush=True)


if __name__ == "__main__":
    main()
