"""The scripts for other libraries: short, pinned, and the page's table is what was measured."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from packaging.requirements import Requirement

from gfn_gym.evaluation import evaluate_exact, uniform_policy

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "libraries"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if path.name != "run_all.py")


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for annotations
    spec.loader.exec_module(module)
    return module


run_all = load("run_all")


def pins(environment: str) -> dict[str, str]:
    lines = (FOLDER / "requirements" / f"{environment}.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all(str(r.specifier).startswith("==") for r in requirements), requirements
    return {r.name: str(r.specifier)[2:] for r in requirements}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_short_and_run(script: str) -> None:
    assert len((FOLDER / script).read_text().splitlines()) < 80
    assert script in {run.script for run in run_all.RUNS.values()}


@pytest.mark.parametrize("name", run_all.RUNS)
def test_versions_of_the_results_are_the_pinned_ones(name: str) -> None:
    pinned = pins(run_all.RUNS[name].environment)
    found = json.loads(run_all.RESULTS.read_text())[name]["versions"]
    assert set(found) == set(run_all.shown(run_all.RUNS[name]))
    assert found == {package: pinned[package] for package in found}


def test_the_table_of_the_page_is_that_of_the_results() -> None:
    table = run_all.table(json.loads(run_all.RESULTS.read_text()))
    assert len(table.splitlines()) == 2 + len(run_all.RUNS)
    assert table in run_all.PAGE.read_text()


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_stable_baselines_script(algorithm: Any, capsys: Any) -> None:
    script = load("sb3_terminate")
    script.main(script.Args(algorithm, height=4, timesteps=200))
    assert "total variation after: 0." in capsys.readouterr().out


SINGLE_FILE = """
import sys, gymnasium, torch
class Agent:
    def __init__(self, envs):
        n = envs.single_observation_space.shape[0]
        self.actor = torch.nn.Linear(n, int(envs.single_action_space.n))
assert __name__ == "__main__" and sys.argv[-2:] == ["--seed", "3"]
env_id = sys.argv[sys.argv.index("--env-id") + 1]
envs = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(env_id)])
agent = Agent(envs)
torch.nn.init.zeros_(agent.actor.weight), torch.nn.init.zeros_(agent.actor.bias)
"""


def test_single_file_scripts_are_run_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    script = tmp_path / "cleanrl" / "any.py"
    script.parent.mkdir()
    script.write_text(SINGLE_FILE)
    monkeypatch.setattr(sys, "argv", ["launcher", "--script", str(script), "--seed", "3"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    load("cleanrl_scripts").main()
    out = capsys.readouterr().out
    dag = gymnasium.make("SmallGrid-v0").get_wrapper_attr("dag")
    uniform = evaluate_exact(dag, uniform_policy(dag))["total_variation"]
    assert f"total variation after: {uniform:.4f}" in out
