"""What the examples' command lines refuse, before any work is done."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gfn_gym.agents import SoftDQN

EXAMPLES = Path(__file__).parent.parent / "examples"


def refused(script: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode and "Traceback" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("hypergrid.py", "--trajectories 10 --evaluations 0"),
        ("hypergrid.py", "--trajectories 0"),
        ("bit_sequences.py", "--trajectories 10 --threads -1"),
        ("molecules.py", "--trajectories 10 --n-best 0"),
        ("bayesian_network.py", "--trajectories 10 --samples 0"),
        ("ising.py", "--trajectories 10 --samples -1"),
    ],
)
def test_bad_options_are_named_and_leave_no_folder(
    script: str, options: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    *_, name, value = options.split()
    message = refused(script, "train", "--out", out, *options.split())
    assert f"{name} {value} must be at least 1" in message
    assert not out.exists()


@pytest.mark.parametrize("config", ["{", "[1]", "{}", '{"agent": "dqn"}', None])
def test_a_damaged_config_is_named(config: str | None, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    message = refused("hypergrid.py", "sample", "--model", tmp_path / "model.zip")
    what = "is not there" if config is None else 'is damaged: it must be JSON with an "agent" of'
    assert f"{tmp_path / 'config.json'} {what}" in message


def test_a_model_of_another_domain_is_named(tmp_path: Path) -> None:
    model = SoftDQN("MlpPolicy", "HypergridGFN-v0", policy_kwargs={"net_arch": [4]})
    model.save(tmp_path / "model.zip")
    (tmp_path / "config.json").write_text(json.dumps({"agent": "soft"}))
    out = tmp_path / "samples.csv"
    message = refused("bit_sequences.py", "sample", "--model", tmp_path / "model.zip", "--out", out)
    assert "was trained on Hypergrid(ndim=4, height=20" in message
    assert "this example samples from BitSequence" in message and not out.exists()
