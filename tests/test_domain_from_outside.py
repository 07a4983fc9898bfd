"""A package of its own brings a DAG, a network and presets, and trains like one of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FILES = {
    "pyproject.toml": """
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"

        [project]
        name = "theirs"
        version = "1.0"

        [tool.setuptools]
        packages = ["theirs"]
        """,
    "theirs/__init__.py": """
        import gfn_gym

        gfn_gym.register(
            "TheirDomain-v0", "theirs.dag:Staircase", policy="theirs.network:policy",
            presets="theirs.presets:PRESETS", height=5,
        )
        """,
    # Called as one of ours is: presets go by what was registered, never by a name.
    "theirs/dag.py": """
        from gfn_gym.envs.hypergrid import Hypergrid as Grid

        class Hypergrid(Grid):
            pass

        class Staircase(Hypergrid):
            def __init__(self, height):
                super().__init__(2, height)
        """,
    "theirs/network.py": """
        import torch as th
        from torch import nn

        from gfn_gym.agents import Architecture

        class Theirs(Architecture):
            def __init__(self, dag, width=4):
                super().__init__(dag)
                self.embedding, self.width = nn.Embedding(dag.height, width), width

            def encode(self, states):
                return th.tanh(self.embedding(states)).flatten(1)

            def make_forward_head(self):
                return nn.Linear(2 * self.width, self.n_actions)

            def make_backward_head(self):
                return nn.Linear(2 * self.width, self.n_backward_actions)

            def make_value_head(self):
                return nn.Linear(2 * self.width, 1)

        def policy(dag):
            return Theirs if dag.height < 100 else "MlpPolicy"
        """,
    "theirs/presets.py": """
        def PRESETS(dag):
            width = 4 * dag.height
            return {
                "fast": {
                    "SoftDQN": {
                        "n_envs": 8, "learning_rate": 5e-3, "train_freq": (4, "episode"),
                        "architecture": {"width": width},
                    }
                }
            }
        """,
    "use.py": """
        import sys

        import gymnasium

        import gfn_gym
        import theirs

        assert "torch" not in sys.modules and "theirs.presets" not in sys.modules
        gymnasium.make("TheirDomain-v0").reset()
        assert "torch" not in sys.modules

        from gfn_gym.agents import MunchausenDQN, SoftDQN, as_policy
        from gfn_gym.evaluation import evaluate_exact
        from theirs.network import Theirs

        model = SoftDQN("auto", "TheirDomain-v0", preset="fast", seed=0)
        architecture = model.policy.online.architecture
        assert type(architecture) is Theirs and architecture.width == 20, architecture
        assert (model.n_envs, model.learning_rate) == (8, 5e-3)
        before = evaluate_exact(model.dag, as_policy(model))["total_variation"]
        model.learn(total_trajectories=3_000)
        after = evaluate_exact(model.dag, as_policy(model))["total_variation"]
        assert after < 0.2 < 0.6 < before, (before, after)

        model.save("model")
        assert type(SoftDQN.load("model").policy.online.architecture) is Theirs
        other = SoftDQN("MlpPolicy", "TheirDomain-v0", preset="fast")
        assert other.policy.architecture_kwargs == {}
        try:
            MunchausenDQN("auto", "TheirDomain-v0", preset="paper")
        except ValueError as error:
            assert "preset='paper' is not one of ['fast']" in str(error), error
        else:
            raise AssertionError("a preset of ours was taken for theirs")
        print("trained")
        """,
}


def dedented(text: str) -> str:
    return "\n".join(line[8:] for line in text.splitlines()).lstrip("\n") + "\n"


def test_a_package_brings_its_domain(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="61")
    for name, text in FILES.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedented(text))
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    options = ["--no-build-isolation", "--target", str(site), str(tmp_path / "source")]
    subprocess.run([*command, *options], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "source" / "use.py")],
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "trained", done.stderr
