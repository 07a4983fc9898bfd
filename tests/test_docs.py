"""The pages that a reader finds first: links, scripts and recipes are as they say."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gfn_gym
from gfn_gym import GFNEnv, agents, registration
from gfn_gym.envs.hypergrid import Hypergrid

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import performance_table  # noqa: E402

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docs/algorithms/*.md", "examples/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text())
    made = ("http://", "https://")
    local = [link for link in links if not link.startswith(made)]
    assert [link for link in local if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_scripts_exist(page: str) -> None:
    scripts = re.findall(r"(?:benchmarks|examples)/[\w/]+\.py", (ROOT / page).read_text())
    assert [script for script in scripts if not (ROOT / script).exists()] == []


def test_every_algorithm_has_a_page() -> None:
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "algorithms").glob("*.md"))
    documented = set(re.findall(r"autoclass:: gfn_gym\.agents\.(\w+)\n", pages))
    assert documented == {*algorithms(), "MENTS"}
    which = (ROOT / "docs" / "algorithms.md").read_text()
    readme = (ROOT / "README.md").read_text()
    for name in documented:
        assert f"| [{name}](" in which
        assert f"`{name}`" in readme


def test_the_readme_and_the_performance_page_say_what_was_measured(capsys: Any) -> None:
    performance_table.main()
    assert capsys.readouterr().out in (ROOT / "docs" / "performance.md").read_text()
    lines = performance_table.measured("GFN Gym soft fast, horizon 14,500")
    distances = performance_table.distances(lines)
    seconds = f"{performance_table.mean_seconds(lines):.0f} CPU seconds"
    seeds = ("no", "one", "two", "three")[len(lines)]
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"total variation of {distances} in 14,500 trajectories" in readme
    assert f"{seconds}, over {seeds} seeds" in readme
    length = len((ROOT / "examples" / "custom_environment.py").read_text().splitlines())
    assert f"trains on it in {length} lines" in readme


def test_the_readme_stays_short_and_names_every_environment() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 90
    domains = registration._domains.values()
    ids = {domain.id for domain in domains if str(domain.dag).startswith("gfn_gym.envs.")}
    assert ids
    assert {id for id in ids if f"`{id}`" not in readme} == set()


def test_the_example_of_a_domain_keeps_the_contract_and_trains() -> None:
    code = (
        "import custom_environment as example; from gfn_gym import check_dag;"
        "check_dag(example.Team());"
        "model = example.SoftDQN('MlpPolicy', 'Team-v0', dueling=True, seed=0);"
        "model.learn(total_trajectories=300); assert model.num_timesteps > 300"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT / "examples", capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_versions_agree() -> None:
    assert f"\nversion: {gfn_gym.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{gfn_gym.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def algorithms() -> list[str]:
    """The names of all algorithms in gfn_gym.agents."""
    return [
        name
        for name in agents.__all__
        if inspect.isclass(value := getattr(agents, name))
        and issubclass(value, agents.GFNAlgorithm)
        and value is not agents.GFNAlgorithm
    ]


def test_the_architecture_of_contributing_trains_with_every_algorithm() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    network = names["SumOfEmbeddings"]
    assert isinstance(names["model"].policy.online.architecture, network)
    for name in algorithms():
        algorithm = getattr(agents, name)
        learnt = "learnt_backward" in inspect.signature(algorithm).parameters
        kwargs = {"learnt_backward": True} if learnt else {}
        model = algorithm(network, GFNEnv(Hypergrid(2, 4)), **kwargs).learn(total_trajectories=32)
        assert np.isfinite(model.policy.log_probs(model.dag.initial_states(1))).any()
