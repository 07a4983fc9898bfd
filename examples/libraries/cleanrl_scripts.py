"""CleanRL's single-file scripts, unmodified, on the Terminate variant of a small hypergrid.

    python examples/libraries/cleanrl_scripts.py                                      # its ppo.py
    python examples/libraries/cleanrl_scripts.py --script cleanrl/cleanrl/dqn.py --gamma 1

Without ``--script``, ppo.py is downloaded at a pinned commit. Other arguments are the script's.
PPO's bonus counts the entropy of the current choice only, so its optimum is not R/Z; DQN is
evaluated as softmax(Q).
"""

from __future__ import annotations

import argparse
import hashlib
import runpy
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import gymnasium
import torch

import gfn_gym
from gfn_gym.evaluation import evaluate_exact, policy_from_logits

COMMIT = "fe8d8a03c41a7ef5b523e2e354bd01c363e786bb"
URL = f"https://raw.githubusercontent.com/vwxyzjn/cleanrl/{COMMIT}/cleanrl/ppo.py"
SHA256 = "d8dfbb7ac0b21e747b77d6e6673e566db4d6cdacc83bcebcd19cf87ad0e459ae"
PPO = """--total-timesteps 10000 --gamma 1 --ent-coef 1 --learning-rate 1e-3 --no-norm-adv
    --no-clip-vloss --no-cuda"""


def downloaded(folder: str) -> Path:
    with urllib.request.urlopen(URL, timeout=60) as answer:
        content = answer.read()
    assert hashlib.sha256(content).hexdigest() == SHA256, f"{URL} is not the file that it was"
    path = Path(folder) / "ppo.py"
    path.write_bytes(content)
    return path


def total_variation(dag: gfn_gym.DAG, network: torch.nn.Module) -> float:
    def logits_of(observations: Any) -> torch.Tensor:
        with torch.no_grad():
            return network(torch.as_tensor(observations))

    return evaluate_exact(dag, policy_from_logits(dag, logits_of))["total_variation"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--script", type=Path, help="a script of a checkout of CleanRL")
    args, others = parser.parse_known_args()
    settings: dict[str, Any] = {
        "ndim": 2,
        "height": 8,
        "invalid_reward": -30.0,
    }  # below any legal return
    gfn_gym.register("SmallGrid-v0", "gfn_gym.envs.hypergrid:Hypergrid", **settings)
    dag = gymnasium.make("SmallGrid-v0").get_wrapper_attr("dag")
    with tempfile.TemporaryDirectory() as folder:
        script = args.script or downloaded(folder)
        sys.path.insert(0, str(script.resolve().parent.parent))  # cleanrl_utils lies there
        defaults = PPO.split() if script.name == "ppo.py" else []
        sys.argv = [str(script), "--env-id", "SmallGrid-Terminate-v0", *defaults, *others]
        names = runpy.run_path(str(script), run_name="__main__")
    torch.manual_seed(0)
    if "agent" in names:
        before, after = names["Agent"](names["envs"]).actor, names["agent"].actor
    else:
        before, after = names["QNetwork"](names["envs"]), names["q_network"]
    print(f"total variation before: {total_variation(dag, before):.4f}")
    print(f"total variation after: {total_variation(dag, after.cpu()):.4f}")


if __name__ == "__main__":
    main()
