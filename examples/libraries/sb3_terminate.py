"""Stable-Baselines3's own PPO and DQN, which know no masks, on the Terminate variant.

    python examples/libraries/sb3_terminate.py --algorithm DQN

An illegal action ends the episode there, with a bad reward. Neither algorithm has R/Z for its
optimum: PPO's bonus counts the entropy of the current choice only, and DQN seeks the one best
trajectory. Evaluation masks the illegal actions; DQN is evaluated as softmax(Q), the policy that
soft Q-learning would have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import torch
import tyro
from stable_baselines3 import DQN, PPO

import gfn_gym
from gfn_gym.agents import as_policy
from gfn_gym.evaluation import Policy, evaluate_exact, policy_from_logits


@dataclass
class Args:
    """Train PPO or DQN of Stable-Baselines3 on a small hypergrid."""

    algorithm: Literal["PPO", "DQN"] = "PPO"
    """Which of the two."""
    ndim: int = 2
    """Number of coordinates of the grid."""
    height: int = 8
    """Number of values of a coordinate."""
    timesteps: int = 20_000
    """Environment steps."""
    seed: int = 0
    """Seed of everything random."""


def policy_of(model: Any, dag: gfn_gym.DAG) -> Policy:
    if isinstance(model, PPO):
        return as_policy(model)

    def q_values(observations: Any) -> torch.Tensor:
        with torch.no_grad():
            return model.q_net(torch.as_tensor(observations))

    return policy_from_logits(dag, q_values)


def main(args: Args) -> None:
    env = gymnasium.make(
        "gfn_gym:HypergridGFN-Terminate-v0",
        ndim=args.ndim,
        height=args.height,
        invalid_reward=-30.0,  # below any legal return, and of its magnitude
    )
    dag = env.get_wrapper_attr("dag")
    common: dict[str, Any] = {"gamma": 1.0, "learning_rate": 1e-3, "seed": args.seed}
    if args.algorithm == "PPO":
        model: Any = PPO(
            "MlpPolicy", env, ent_coef=1.0, normalize_advantage=False, device="cpu", **common
        )
    else:
        model = DQN("MlpPolicy", env, exploration_final_eps=0.2, device="cpu", **common)
    before = evaluate_exact(dag, policy_of(model, dag))["total_variation"]
    model.learn(args.timesteps)
    after = evaluate_exact(dag, policy_of(model, dag))["total_variation"]
    print(f"total variation before: {before:.4f}")
    print(f"total variation after: {after:.4f}")


if __name__ == "__main__":
    main(tyro.cli(Args))
