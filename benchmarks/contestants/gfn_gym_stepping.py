"""GFN Gym's native vector environment on the 20^4 hypergrid: transitions per CPU second.

`gymnasium.make_vec` with its defaults except the autoreset mode: every step returns one-hot
observations, rewards and action masks as new numpy arrays, and actions are sampled from the mask.
With NEXT_STEP, Gymnasium's default, the step that resets a finished episode takes time but is not
counted; with SAME_STEP every step counts, but final observations are returned as well.
"""

from common import HEIGHT, NDIM, measure, report, stepping_arguments, use_one_thread

use_one_thread()

import gymnasium  # noqa: E402
import numpy as np  # noqa: E402

import gfn_gym  # noqa: E402, F401
from gfn_gym.mdp import sample_legal_actions  # noqa: E402

STEPS = 100  # of one measured call


def main() -> None:
    parser = stepping_arguments(__doc__)
    parser.add_argument("--autoreset", choices=("NextStep", "SameStep"), default="NextStep")
    args = parser.parse_args()
    env = gymnasium.make_vec(
        "HypergridGFN-v0",
        num_envs=args.num_envs,
        ndim=NDIM,
        height=HEIGHT,
        autoreset_mode=args.autoreset,
    )
    generator = np.random.default_rng(args.seed)
    _, info = env.reset(seed=args.seed)
    mask, resetting = info["action_mask"], np.zeros(args.num_envs, dtype=bool)

    def run() -> int:
        nonlocal mask, resetting
        counted = 0
        for _ in range(STEPS):
            if args.stop == "forced":
                mask[mask[:, :NDIM].any(axis=1), NDIM] = 0
            _, _, terminated, _, info = env.step(sample_legal_actions(mask, generator))
            mask = info["action_mask"]
            counted += args.num_envs - int(resetting.sum())
            if args.autoreset == "NextStep":
                resetting = terminated
        return counted

    what = f"native vector environment, {args.autoreset}, {args.stop} stop"
    report("gfn-gym", what, args.num_envs, measure(run, args.seconds))


if __name__ == "__main__":
    main()
