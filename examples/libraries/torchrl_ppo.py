"""TorchRL's PPO with its MaskedCategorical, on the Dict of observation and mask.

    python examples/libraries/torchrl_ppo.py --ndim 2 --height 8

Its bonus counts the entropy of the current choice only, so its optimum is not R/Z.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium
import torch
from tensordict.nn import TensorDictModule
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper
from torchrl.modules import MLP, MaskedCategorical, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import gfn_gym
from gfn_gym.evaluation import evaluate_exact, policy_from_logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ndim", type=int, default=2)
    parser.add_argument("--height", type=int, default=8)
    parser.add_argument("--timesteps", type=int, default=8_000)
    args = parser.parse_args()
    torch.manual_seed(0)
    made = gymnasium.make("HypergridGFN-v0", ndim=args.ndim, height=args.height)
    dag = made.get_wrapper_attr("dag")
    masked = gfn_gym.wrappers.DictObservation(made, "observation", "mask", bool)
    env = GymWrapper(masked, categorical_action_encoding=True)

    def body(n_outputs: int) -> MLP:
        return MLP(args.ndim * args.height, n_outputs, num_cells=[128, 128])

    network = body(dag.n_actions)
    actor = ProbabilisticActor(
        TensorDictModule(network, ["observation"], ["logits"]), in_keys=["logits", "mask"],
        spec=env.action_spec, distribution_class=MaskedCategorical, return_log_prob=True,
    )  # fmt: skip
    critic = ValueOperator(body(1), in_keys=["observation"])
    loss_of = ClipPPOLoss(actor, critic, entropy_coeff=1.0, normalize_advantage=False)
    advantage = GAE(gamma=1.0, lmbda=0.95, value_network=critic)
    optimizer = torch.optim.Adam(loss_of.parameters(), lr=1e-3)

    def logits_of(observations: Any) -> torch.Tensor:
        with torch.no_grad():
            return network(torch.as_tensor(observations))

    policy = policy_from_logits(dag, logits_of)
    print(f"total variation before: {evaluate_exact(dag, policy)['total_variation']:.4f}")
    collector = Collector(env, actor, frames_per_batch=1000, total_frames=args.timesteps)
    for batch in collector:
        for _ in range(4):
            with torch.no_grad():
                advantage(batch)
            for part in batch.reshape(-1)[torch.randperm(batch.numel())].split(250):
                losses = loss_of(part)
                loss = sum(losses[f"loss_{name}"] for name in ("objective", "critic", "entropy"))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    collector.shutdown()
    print(f"total variation after: {evaluate_exact(dag, policy)['total_variation']:.4f}")


if __name__ == "__main__":
    main()
