"""Raw speed of gfnx's Bayesian networks and Ising models: its rollout, and a scan over its step.

What the two modes are is told in gfnx_stepping.py. Rewards are BGe's under the uniform prior over
graphs, with `--data` the observations (a .npy file, (N, d)), and −β·energy of a torus at β = 0.4.
"""

from typing import Any

from common import measure, report, stepping_arguments, use_one_thread

use_one_thread()

import gfnx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from gfnx.reward.dag_likelihood import BGeScore  # noqa: E402
from gfnx.reward.dag_prior import UniformDAGPrior  # noqa: E402
from gfnx_stepping import make_rollout, make_scan  # noqa: E402

BETA = 0.4


def make_network(data: np.ndarray) -> tuple[Any, Any]:
    """The environment of graphs over the columns of the data, and its parameters."""
    d = data.shape[1]
    reward = gfnx.DAGRewardModule(
        prior=UniformDAGPrior(d), likelihood=BGeScore(jnp.asarray(data, dtype=jnp.float32))
    )
    env = gfnx.DAGEnvironment(reward, num_variables=d)
    return env, env.init(jax.random.PRNGKey(0))


def make_torus(side: int) -> tuple[Any, Any]:
    """The environment of side² spins, and its parameters: log R = sᵀ·J·s."""
    env = gfnx.IsingEnvironment(gfnx.IsingRewardModule(), dim=side**2)
    params = env.init(jax.random.PRNGKey(0))
    site = np.arange(side**2).reshape(side, side)
    bonds = np.zeros((side**2, side**2))
    for axis in (0, 1):
        np.add.at(bonds, (site.ravel(), np.roll(site, -1, axis=axis).ravel()), 1.0)
    couplings = jnp.asarray(BETA * bonds, dtype=jnp.float32)  # each bond once
    return env, params.replace(reward_params=params.reward_params.replace(J=couplings))


def main() -> None:
    parser = stepping_arguments(__doc__)
    parser.add_argument("--mode", choices=("rollout", "scan"), default="rollout")
    parser.add_argument("--data", help="observations of a network; without it, spins")
    parser.add_argument("--side", type=int, default=10, help="of the torus")
    args = parser.parse_args()
    if args.data:
        (env, params), stop = make_network(np.load(args.data)), args.stop
        what = f"{env.num_variables} nodes"
    else:
        (env, params), stop = make_torus(args.side), "uniform"  # there is no stop
        what = f"{args.side}×{args.side} spins"
    key, n = jax.random.PRNGKey(args.seed), args.num_envs
    if args.mode == "rollout":
        run = make_rollout(env, params, n, stop, key)
    else:
        run = make_scan(env, params, n, stop, True, key)
    report("gfnx", f"{what}, {args.mode}, {stop} stop", n, measure(run, args.seconds))


if __name__ == "__main__":
    main()
