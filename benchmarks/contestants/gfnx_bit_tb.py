"""gfnx's trajectory balance on bit sequences: training iterations per CPU second.

Our own loop over gfnx 0.0.1's environment, reward, encoder and rollout, modelled on its
repository's script (baselines/tb_bitseq.py) but without its metrics and logging. Sizes are the
paper's: n = 120, k = 8, 60 modes, 3 layers, 8 heads, width 64, 16 trajectories per iteration. P_B
is uniform. Iterations are compiled into one loop that does not return to Python.
"""

import argparse
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
import optax  # noqa: E402

N_TRAJECTORIES = 16
EXPLORATION = 1e-3
LEARNING_RATE, LEARNING_RATE_Z = 2e-3, 1e-2


class Policy(eqx.Module):
    """Encoder, linear head, mean over the tokens: the script's network."""

    encoder: gfnx.networks.Encoder
    head: eqx.nn.Linear

    def __init__(self, env: gfnx.BitseqEnvironment, key: jax.Array):
        encoder_key, head_key = jax.random.split(key)
        self.encoder = gfnx.networks.Encoder(
            vocab_size=env.ntoken, max_length=env.max_length + 1, embedding_size=64,
            hidden_size=64, intermediate_size=64, num_layers=3, num_heads=8, dropout_rate=0.1,
            attention_dropout_rate=0.1, pad_id=env.pad_token, key=encoder_key,
        )  # fmt: skip
        self.head = eqx.nn.Linear(64, env.action_space.n, key=head_key)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        encoded = self.encoder(tokens, jnp.arange(len(tokens)))["layers_out"][-1]
        return jax.vmap(self.head)(encoded).mean(axis=0)


class TrajectoryBalance:
    """The loop: a rollout of 16 trajectories and a gradient step on them."""

    def __init__(self, n: int, k: int, n_modes: int, seed: int):
        reward = gfnx.BitseqRewardModule(
            sentence_len=n, k=k, mode_set_size=n_modes, reward_exponent=2.0
        )
        self.env = gfnx.BitseqEnvironment(reward, n=n, k=k)
        self.env_params = self.env.init(jax.random.PRNGKey(1))
        network = Policy(self.env, jax.random.PRNGKey(seed))
        weights, self.static = eqx.partition(network, eqx.is_array)
        self.start = {"network": weights, "log_z": jnp.zeros(())}
        rates = {"network": optax.adam(LEARNING_RATE), "log_z": optax.adam(LEARNING_RATE_Z)}
        labels = {"network": jax.tree.map(lambda _: "network", weights), "log_z": "log_z"}
        self.optimizer = optax.multi_transform(rates, labels)

    def _logits(self, weights: Any, tokens: jax.Array) -> jax.Array:
        return jax.vmap(eqx.combine(weights, self.static))(tokens)

    def _behaviour(
        self, key: jax.Array, tokens: jax.Array, weights: Any
    ) -> tuple[jax.Array, dict[str, Any]]:
        logits = self._logits(weights, tokens)
        explore = jax.random.bernoulli(key, EXPLORATION, (len(tokens), 1))
        return jnp.where(explore, 0.0, logits), {}

    def _loss(self, parameters: dict[str, Any], data: gfnx.utils.TrajectoryData) -> jax.Array:
        """The squared difference of log Z + Σ log P_F and log R + Σ log P_B."""
        steps = self.env.max_length  # every trajectory has as many; what follows is padding
        tokens = data.obs[:, :steps].reshape(N_TRAJECTORIES * steps, -1)
        states = jax.tree.map(
            lambda x: x[:, :steps].reshape(N_TRAJECTORIES * steps, *x.shape[2:]), data.state
        )
        illegal = self.env.get_invalid_mask(states, self.env_params)
        logits = self._logits(parameters["network"], tokens)
        log_probs = jax.nn.log_softmax(jnp.where(illegal, -1e30, logits), axis=-1)
        actions = data.action[:, :steps].reshape(-1, 1)
        log_forward = jnp.take_along_axis(log_probs, actions, axis=-1).reshape(-1, steps).sum(1)
        log_backward = -jnp.log(jnp.arange(1, steps + 1)).sum()
        log_reward = data.log_gfn_reward[:, :steps].sum(axis=1)
        return jnp.square(parameters["log_z"] + log_forward - log_backward - log_reward).mean()

    def iteration(self, _: int, carry: Any) -> Any:
        """What is jitted."""
        key, parameters, optimizer_state = carry
        key, rollout_key = jax.random.split(key)
        data, _ = gfnx.utils.forward_rollout(
            rollout_key, N_TRAJECTORIES, self._behaviour, parameters["network"],
            self.env, self.env_params,
        )  # fmt: skip
        gradient = jax.grad(self._loss)(parameters, data)
        updates, optimizer_state = self.optimizer.update(gradient, optimizer_state, parameters)
        return key, optax.apply_updates(parameters, updates), optimizer_state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=positive, default=120)
    parser.add_argument("--k", type=positive, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=positive, default=60)
    args = parser.parse_args()
    loop = TrajectoryBalance(args.n, args.k, 60, args.seed)
    advance = jax.jit(lambda n, start: jax.lax.fori_loop(0, n, loop.iteration, start))
    start = (jax.random.PRNGKey(args.seed), loop.start, loop.optimizer.init(loop.start))
    start = jax.block_until_ready(advance(jnp.int32(3), start))  # compiled, and warm
    wall, cpu = time.perf_counter(), time.process_time()
    _, parameters, _ = jax.block_until_ready(advance(jnp.int32(args.iterations), start))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    line = {
        "library": "gfnx",
        "version": version("gfnx"),
        "what": "gfnx TB loop, written after its repository's script",
        "iterations": args.iterations,
        "cpu_seconds": round(cpu, 4),
        "wall_seconds": round(wall, 4),
        "iterations_per_cpu_second": round(args.iterations / cpu, 3),
        "log_z": float(parameters["log_z"]),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
