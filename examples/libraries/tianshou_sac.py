"""Tianshou's DiscreteSAC on the Terminate variant, evaluated exactly.

    python examples/libraries/tianshou_sac.py --ndim 2 --height 8

With α = 1 and γ = 1 its optimum is R/Z, as in Theorem 1, except for the illegal actions.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium
import numpy as np
import torch
from tianshou.algorithm.modelfree.discrete_sac import DiscreteSAC, DiscreteSACPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic

from gfn_gym.evaluation import evaluate_exact, policy_from_logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ndim", type=int, default=2)
    parser.add_argument("--height", type=int, default=8)
    parser.add_argument("--timesteps", type=int, default=20_000)
    args = parser.parse_args()
    np.random.seed(0)  # noqa: NPY002  (Tianshou's buffers draw from it)
    torch.manual_seed(0)

    def make() -> Any:
        return gymnasium.make(
            "gfn_gym:HypergridGFN-Terminate-v0", ndim=args.ndim, height=args.height,
            invalid_reward=-30.0,  # below any legal return, and of its magnitude
        )  # fmt: skip

    env = make()
    dag, n_actions = env.get_wrapper_attr("dag"), int(env.action_space.n)

    def body() -> Net:
        return Net(state_shape=env.observation_space.shape, hidden_sizes=(128, 128))

    actor = DiscreteActor(preprocess_net=body(), action_shape=n_actions, softmax_output=False)
    rate = AdamOptimizerFactory(lr=1e-3)
    algorithm: Any = DiscreteSAC(
        policy=DiscreteSACPolicy(actor=actor, action_space=env.action_space),
        policy_optim=rate,
        critic=DiscreteCritic(preprocess_net=body(), last_size=n_actions),
        critic_optim=rate,
        critic2=DiscreteCritic(preprocess_net=body(), last_size=n_actions),
        gamma=1.0,
        alpha=1.0,
    )

    def logits_of(observations: Any) -> torch.Tensor:
        with torch.no_grad():
            return actor(observations)[0]

    policy = policy_from_logits(dag, logits_of)
    print(f"total variation before: {evaluate_exact(dag, policy)['total_variation']:.4f}")
    envs = DummyVectorEnv([make] * 16)
    collector = Collector(algorithm, envs, VectorReplayBuffer(args.timesteps, 16))
    algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=collector, max_epochs=1, epoch_num_steps=args.timesteps,
            collection_step_num_env_steps=16, update_step_num_gradient_steps_per_sample=0.1,
            batch_size=256, verbose=False, show_progress=False,
        )
    )  # fmt: skip
    print(f"total variation after: {evaluate_exact(dag, policy)['total_variation']:.4f}")


if __name__ == "__main__":
    main()
