"""Several learners on several nodes: RLlib's PPO on our environment, evaluated exactly by us.

    python examples/cluster/rllib_nodes.py --learners 2 --env-runners 8

In RLlib's environment, examples/libraries/requirements/rllib.txt, on every node. The cluster is the
one that this runs on (RAY_ADDRESS), else one of this machine. RLlib averages the learners'
gradients; its entropy bonus counts the current choice only, so its optimum is not R/Z.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.examples.rl_modules.classes.action_masking_rlm import ActionMaskingTorchRLModule
from ray.tune.registry import register_env

import gfn_gym
from gfn_gym.evaluation import evaluate_exact, policy_from_logits
from gfn_gym.observation import Observer, WithMask


def make_env(config: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    env = gymnasium.make("gfn_gym:HypergridGFN-v0", **config)
    return gfn_gym.wrappers.DictObservation(env)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learners", type=int, default=2)
    parser.add_argument("--env-runners", type=int, default=2)
    parser.add_argument("--gpus-per-learner", type=float, default=0)
    parser.add_argument("--ndim", type=int, default=2)
    parser.add_argument("--height", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=10)
    args = parser.parse_args()
    kwargs = {"ndim": args.ndim, "height": args.height}
    dag = make_env(kwargs).get_wrapper_attr("dag")
    register_env("masked_hypergrid", make_env)
    ray.init(log_to_driver=False)
    needed, there = args.learners + args.env_runners, ray.cluster_resources().get("CPU", 0)
    if there < needed:
        print(f"RLlib waits for {needed} CPUs, one a learner and one an env runner; {there:g} here")
    algorithm = (
        PPOConfig()
        .environment("masked_hypergrid", env_config=kwargs)
        .env_runners(num_env_runners=args.env_runners, num_envs_per_env_runner=16)
        .learners(num_learners=args.learners, num_gpus_per_learner=args.gpus_per_learner)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=ActionMaskingTorchRLModule))
        .training(
            gamma=1.0, entropy_coeff=1.0, lr=1e-3, use_kl_loss=False, vf_clip_param=1e3,
            train_batch_size_per_learner=2000, minibatch_size=250, num_epochs=8,
        )
        .fault_tolerance(restart_failed_env_runners=True)
        .build_algo()
    )  # fmt: skip

    def logits_of(observations: dict[str, Any]) -> torch.Tensor:
        tensors = {key: torch.as_tensor(value) for key, value in observations.items()}
        module: Any = algorithm.get_module()  # the env runners', after each synchronization
        with torch.no_grad():
            return module.forward_inference({"obs": tensors})["action_dist_inputs"]

    policy = policy_from_logits(dag, logits_of, observation=WithMask(Observer(dag)).observe)
    print(f"total variation before: {evaluate_exact(dag, policy)['total_variation']:.4f}")
    for _ in range(args.iterations):
        algorithm.train()
    print(f"total variation after: {evaluate_exact(dag, policy)['total_variation']:.4f}")
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
