"""``import gfn_gym`` alone reaches the other modules, and loads torch for the agents only."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gfn_gym


def test_modules_are_loaded_when_asked_for() -> None:
    code = """
import sys, gfn_gym
assert "gfn_gym.wrappers" not in sys.modules
gfn_gym.wrappers.DictObservation, gfn_gym.evaluation.solve, gfn_gym.graph.enumerate_graph
assert {"agents", "evaluation", "wrappers", "make_env"} & set(dir(gfn_gym)) == {
    "agents", "evaluation", "wrappers"
}
assert "torch" not in sys.modules
gfn_gym.agents.SoftDQN
assert "torch" in sys.modules
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'gfn_gym' has no attribute 'wrapers'"):
        gfn_gym.wrapers  # type: ignore[attr-defined] # noqa: B018
