"""sb3-contrib's MaskablePPO on a GFN environment, evaluated by the same exact call as our agents.

    python examples/libraries/maskable_ppo.py --ndim 2 --height 8

MaskablePPO's bonus counts the entropy of the current choice only, not that of the choices to come,
so its optimum is not R/Z: the exact total variation shows what that costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium
import tyro
from sb3_contrib import MaskablePPO

from gfn_gym.agents import EvaluationCallback, GFNVecEnv, as_policy
from gfn_gym.env import GFNEnv
from gfn_gym.evaluation import evaluate_exact


@dataclass
class Args:
    """Train MaskablePPO on a small hypergrid."""

    ndim: int = 2
    """Number of coordinates of the grid."""
    height: int = 8
    """Number of values of a coordinate."""
    timesteps: int = 100_000
    """Environment steps."""
    ent_coef: float = 1.0
    """The entropy coefficient; 1 is that of Theorem 1."""
    seed: int = 0
    """Seed of everything random."""


def main(args: Args) -> None:
    env = gymnasium.make("HypergridGFN-v0", ndim=args.ndim, height=args.height)
    assert isinstance(env.unwrapped, GFNEnv)
    dag = env.unwrapped.dag
    model = MaskablePPO(
        "MlpPolicy",
        GFNVecEnv(env.unwrapped.mdp, 32),  # env itself works too, but is slower
        gamma=1.0,
        ent_coef=args.ent_coef,
        normalize_advantage=False,  # entropy and reward have the same unit
        n_steps=64,
        batch_size=256,
        n_epochs=4,
        learning_rate=1e-3,
        seed=args.seed,
        device="cpu",
    )
    evaluation = EvaluationCallback(max(1, args.timesteps // 5))
    before = evaluate_exact(dag, as_policy(model))["total_variation"]
    model.learn(args.timesteps, callback=evaluation, progress_bar=True)
    after = evaluate_exact(dag, as_policy(model))["total_variation"]
    print(f"total variation before: {before:.4f}")
    print(f"total variation after: {after:.4f} (best {evaluation.best:.4f})")


if __name__ == "__main__":
    main(tyro.cli(Args))
