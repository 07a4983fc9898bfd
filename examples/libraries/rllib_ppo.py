"""RLlib's PPO with its action-masking module, on the Dict of observations and action mask.

    python examples/libraries/rllib_ppo.py --ndim 2 --height 8

Its bonus counts the entropy of the current choice only, so its optimum is not R/Z.
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
    return gfn_gym.wrappers.DictObservation(env)  # its defaults are RLlib's names and dtype


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ndim", type=int, default=2)
    parser.add_argument("--height", type=int, default=8)
    parser.add_argument("--timesteps", type=int, default=10_000)
    args = parser.parse_args()
    kwargs = {"ndim": args.ndim, "height": args.height}
    dag = make_env(kwargs).get_wrapper_attr("dag")
    register_env("masked_hypergrid", make_env)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    algorithm = (
        PPOConfig()
        .environment("masked_hypergrid", env_config=kwargs)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8)
        .rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=ActionMaskingTorchRLModule,
                model_config={"head_fcnet_hiddens": [128, 128]},
            )
        )
        .training(
            gamma=1.0, entropy_coeff=1.0, lr=1e-3, use_kl_loss=False, vf_clip_param=1e3,
            train_batch_size=2000, minibatch_size=250, num_epochs=8,
        )
        .debugging(seed=0)
        .build_algo()
    )  # fmt: skip

    def logits_of(observations: dict[str, Any]) -> torch.Tensor:
        tensors = {key: torch.as_tensor(value) for key, value in observations.items()}
        with torch.no_grad():
            module = algorithm.get_module()
            assert module is not None
            return module.forward_inference({"obs": tensors})["action_dist_inputs"]

    policy = policy_from_logits(dag, logits_of, observation=WithMask(Observer(dag)).observe)
    print(f"total variation before: {evaluate_exact(dag, policy)['total_variation']:.4f}")
    for _ in range(args.timesteps // 2000):  # train_batch_size
        algorithm.train()
    print(f"total variation after: {evaluate_exact(dag, policy)['total_variation']:.4f}")
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
