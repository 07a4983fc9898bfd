"""The files for clusters: whole, nobody's account, and what they call exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "cluster"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize("script", ["slurm.sh", "submit.sh"])
def test_scripts_parse(script: str) -> None:
    subprocess.run(["bash", "-n", str(FOLDER / script)], check=True)


def test_scripts_pass_options_that_the_training_has() -> None:
    command = [sys.executable, str(FOLDER / "train.py"), "--help"]
    usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for script in ("slurm.sh", "submit.sh"):
        text = (FOLDER / script).read_text()
        used = set(re.findall(r"(?<!\S)--(?:workers|collectors|out)\b", text))
        assert used == {"--workers", "--collectors", "--out"}
        assert all(option in usage for option in used)


def test_the_cluster_has_placeholders_only() -> None:
    yaml = pytest.importorskip("yaml")
    config = yaml.safe_load((FOLDER / "cluster.yaml").read_text())
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert types["head"]["resources"] == {"CPU": 0}  # nothing is put beside the learner
    schema = pytest.importorskip("jsonschema")
    folder = Path(pytest.importorskip("ray").__file__).parent
    schema.validate(config, json.loads((folder / "autoscaler" / "ray-schema.json").read_text()))
    for node in types.values():
        assert all(str(node["node_config"][k])[0] == "<" for k in ("InstanceType", "ImageId"))
    assert config["auth"]["ssh_user"].startswith("<") and "<" in config["provider"]["region"]
