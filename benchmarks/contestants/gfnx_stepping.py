"""Raw speed of gfnx's hypergrid: its own rollout, and a lean scan over its step.

rollout: `gfnx.utils.forward_rollout` under a uniform policy, jitted with everything that it
returns. It always computes `max_steps_in_episode + 1` = 81 steps per environment. The time of steps
that only pad a finished episode is included, as its users pay for it, but they are not counted as
transitions. With `--stop uniform` an episode is about 5 transitions long,
so most of the 81 are padding; with `--stop forced` 77 of them count, its best case.

scan: a jitted `lax.scan` over the environment's batched step that resets finished environments
in the same step, so that all transitions count. gfnx has no such function; one could write it
around its environment. Legal actions are sampled with one random number each instead of
gfnx's Gumbel trick. State, observation and mask are carried from step to step as a policy would
need them; `--observations no` drops the one-hot observation, which XLA then never computes.

gfnx's masks say True where an action is *illegal*. Compilation is part of the warm-up.
"""

from collections.abc import Callable
from typing import Any

from common import HEIGHT, NDIM, REWARD, measure, report, stepping_arguments, use_one_thread

use_one_thread()

import gfnx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

Environment = Any  # of gfnx


def make_environment() -> tuple[Environment, Any]:
    """20^4 with the standard reward, and its parameters."""
    reward = gfnx.GeneralHypergridRewardModule(*REWARD)
    env = gfnx.HypergridEnvironment(reward, dim=NDIM, side=HEIGHT)
    return env, env.init(jax.random.PRNGKey(0))


def draw_legal(key: jax.Array, legal: jax.Array, stop: str) -> jax.Array:
    """A uniform legal action per row: the k-th legal one, k uniform; [n, n_actions] -> [n]."""
    if stop == "forced":
        legal = legal.at[:, -1].set(~legal[:, :-1].any(axis=-1))
    order = jnp.cumsum(legal, axis=-1)
    rank = jax.random.uniform(key, legal.shape[:1]) * order[:, -1]
    return jnp.argmax(order > rank[:, None], axis=-1)


def make_rollout(
    env: Environment, params: Any, num_envs: int, stop: str, key: jax.Array
) -> Callable[[], int]:
    """gfnx's forward_rollout; the count is what its own info says."""

    def policy(_: jax.Array, observation: jax.Array, __: None) -> tuple[jax.Array, dict]:
        logits = jnp.zeros((observation.shape[0], env.action_space.n))
        return logits if stop == "uniform" else logits.at[:, env.stop_action].set(-1e9), {}

    @jax.jit
    def rollout(key: jax.Array) -> tuple[Any, dict]:
        return gfnx.utils.forward_rollout(key, num_envs, policy, None, env, params)

    def run() -> int:
        nonlocal key
        key, rollout_key = jax.random.split(key)
        _, info = jax.block_until_ready(rollout(rollout_key))
        return int(info["trajectory_length"].sum())

    return run


def make_scan(
    env: Environment, params: Any, num_envs: int, stop: str, observations: bool, key: jax.Array
) -> Callable[[], int]:
    """A lean scan with automatic reset; every transition counts."""
    n_steps = max(64, 2_000_000 // num_envs)
    first_observation, first_state = env.reset(num_envs, params)
    first_legal = ~env.get_invalid_mask(first_state, params)

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        state, _, legal, reward_sum = carry
        action = draw_legal(key, legal, stop)
        _, state, log_reward, done, _ = env.step(state, action, params)
        state = jax.tree.map(
            lambda new, first: jnp.where(done.reshape(-1, *[1] * (new.ndim - 1)), first, new),
            state,
            first_state,
        )
        observation = env.get_obs(state, params) if observations else first_observation
        legal = ~env.get_invalid_mask(state, params)
        return (state, observation, legal, reward_sum + log_reward.sum()), None

    @jax.jit
    def scan(carry: Any, key: jax.Array) -> Any:
        return jax.lax.scan(step, carry, jax.random.split(key, n_steps))[0]

    carry = (first_state, first_observation, first_legal, jnp.zeros(()))

    def run() -> int:
        nonlocal carry, key
        key, scan_key = jax.random.split(key)
        carry = jax.block_until_ready(scan(carry, scan_key))
        return n_steps * num_envs

    return run


def main() -> None:
    parser = stepping_arguments(__doc__)
    parser.add_argument("--mode", choices=("rollout", "scan"), default="rollout")
    parser.add_argument("--observations", choices=("yes", "no"), default="yes")
    arguments = parser.parse_args()
    env, params = make_environment()
    key = jax.random.PRNGKey(arguments.seed)
    if arguments.mode == "rollout":
        run = make_rollout(env, params, arguments.num_envs, arguments.stop, key)
        what = f"forward_rollout, real transitions only, {arguments.stop} stop"
    else:
        observations = arguments.observations == "yes"
        run = make_scan(env, params, arguments.num_envs, arguments.stop, observations, key)
        what = (
            f"lean jitted scan over its step with automatic reset, {arguments.stop} stop, "
            f"{'with' if observations else 'without'} observations"
        )
    report("gfnx", what, arguments.num_envs, measure(run, arguments.seconds))


if __name__ == "__main__":
    main()
