"""What gets installed: all of gfn_gym and agents, nothing beside it, and importable without torch.

A package that setup.cfg forgets is noticed by nobody who works in a clone, only by those who
install the wheel.
"""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = {"gfn_gym": "gfn_gym", "agents": "gfn_gym.agents"}  # folder: name

setup_cfg = configparser.ConfigParser()
setup_cfg.read(ROOT / "setup.cfg")


def lines(value: str) -> list[str]:
    return [line for line in value.splitlines() if line and not line.startswith("#")]


def run_python(code: str, cwd: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_wheel_holds_every_file_and_nothing_outside_gfn_gym(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77.0.3")  # which torch asks for, too
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    expected = set()
    for folder, package in PACKAGES.items():
        copy = tmp_path / folder
        shutil.copytree(
            ROOT / folder,
            copy,
            ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "*~"),
        )
        prefix = package.replace(".", "/")
        files = (file for file in copy.rglob("*") if file.is_file())
        expected |= {f"{prefix}/{file.relative_to(copy).as_posix()}" for file in files}

    run_python("from setuptools import build_meta; build_meta.build_wheel('dist')", cwd=tmp_path)

    (path,) = tmp_path.glob("dist/*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
    info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - info == expected
    assert "gfn_gym/py.typed" in names
    assert "gfn_gym/agents/__init__.py" in names
    assert any(name.endswith("/licenses/LICENSE") for name in info)


def test_setup_cfg_lists_every_package() -> None:
    found = set()
    for folder, package in PACKAGES.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join((package, *init.parent.relative_to(ROOT / folder).parts)))
    assert set(lines(setup_cfg["options"]["packages"])) == found


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    pins: dict[str, list[str]] = {}
    for line in lines((ROOT / "constraints.txt").read_text()):
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        pins.setdefault(canonicalize_name(requirement.name), []).append(specifier.version)

    extras = setup_cfg["options.extras_require"]
    wanted = lines(setup_cfg["options"]["install_requires"])
    wanted += [line for extra in extras if extra != "all" for line in lines(extras[extra])]
    for requirement in map(Requirement, wanted):
        versions = pins.get(canonicalize_name(requirement.name))
        assert versions, f"{requirement.name} has no pin in constraints.txt"
        assert all(version in requirement.specifier for version in versions), requirement


def test_evaluation_knows_no_domain() -> None:
    for path in (ROOT / "gfn_gym" / "evaluation").glob("*.py"):
        if path.name != "molecules.py":  # the old place of what lies with the molecules
            assert "gfn_gym.envs" not in path.read_text(), path


def test_gfn_gym_imports_and_makes_environments_without_torch(tmp_path: Path) -> None:
    run_python(
        f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
for name in ("torch", "stable_baselines3", "matplotlib", "rdkit"):
    sys.modules[name] = None  # importing it raises
import gymnasium
gymnasium.make("gfn_gym:HypergridGFN-v0").reset()
import gfn_gym.evaluation
""",
        cwd=tmp_path,
    )
