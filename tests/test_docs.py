"""The pages that a reader finds first: links, scripts and recipes are as they say."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gfn_gym import GFNEnv, agents
from gfn_gym.envs.hypergrid import Hypergrid

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text())
    local = [link for link in links if not link.startswith(("http://", "https://"))]
    assert [link for link in local if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_scripts_exist(page: str) -> None:
    scripts = re.findall(r"(?:benchmarks|examples)/[\w/]+\.py", (ROOT / page).read_text())
    assert [script for script in scripts if not (ROOT / script).exists()] == []


def test_the_architecture_of_contributing_trains_with_every_algorithm() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    network = names["SumOfEmbeddings"]
    assert isinstance(names["model"].policy.online.architecture, network)
    for name in agents.__all__:
        algorithm = getattr(agents, name)
        if name == "GFNAlgorithm" or not (
            inspect.isclass(algorithm) and issubclass(algorithm, agents.GFNAlgorithm)
        ):
            continue
        learnt = "learnt_backward" in inspect.signature(algorithm).parameters
        kwargs = {"learnt_backward": True} if learnt else {}
        model = algorithm(network, GFNEnv(Hypergrid(2, 4)), **kwargs).learn(total_trajectories=32)
        assert np.isfinite(model.policy.log_probs(model.dag.initial_states(1))).any()
