"""What a domain brings with it: its policy and presets, ours and those of other packages."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from dags import Piles, Words
from gfn_gym import register
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.registration import Domain, domain_of

ROOT = Path(__file__).parent.parent
FAST = {"fast": {"SoftDQN": {"n_envs": 4}}}


class Own(Words):
    pass


class Child(Own):
    pass


class SomePolicy:
    pass


def own_policy(dag: Any) -> Any:
    return SomePolicy if dag.length < 3 else "MlpPolicy"


def own_presets(dag: Any) -> Any:
    return {"fast": {"SoftDQN": {"n_envs": dag.length}}}


def found(dag: Any) -> Domain:
    domain = domain_of(dag)
    assert domain is not None
    return domain


# ---- what is found --------------------------------------------------------------------------


def test_ours() -> None:
    assert found(Hypergrid(2, 4)).policy_for(Hypergrid(2, 4)) == "MlpPolicy"
    assert found(BitSequence(8, 4)).policy_for(BitSequence(8, 4)) == "TransformerPolicy"
    assert found(Hypergrid(2, 4, reward="hard")).id == "HypergridGFN-v0"


def test_what_was_not_registered_has_no_domain() -> None:
    assert domain_of(Words()) is None


def test_a_class_that_only_shares_its_name_is_another() -> None:
    other = type("Hypergrid", (Words,), {})
    assert domain_of(other()) is None


def test_a_domain_without_policy_and_presets() -> None:
    register("Own-v0", Own)
    assert found(Own()).policy_for(Own()) is None
    assert found(Own()).presets_for(Own()) == {}
    env: Any = gymnasium.make("Own-v0", length=2).unwrapped
    assert env.dag.length == 2
    env = gymnasium.make("Own-Terminate-v0").unwrapped
    assert env.simulator.invalid_action == "terminate"


@pytest.mark.parametrize("dag", [Own, f"{__name__}:Own"])
def test_subclasses_take_the_nearest_parents(dag: Any) -> None:
    register("Words-v0", Words, policy="MlpPolicy")
    register("Own-v0", dag, policy="TransformerPolicy", presets=FAST)
    assert found(Words()).id == "Words-v0"
    for cls in (Own, Child):
        assert found(cls()).policy_for(cls()) == "TransformerPolicy"
        assert found(cls()).presets_for(cls()) == FAST
    register("Child-v0", Child)
    assert found(Child()).presets_for(Child()) == {}


def test_a_class_may_be_named_by_a_module_that_only_imports_it() -> None:
    assert Words.__module__ != __name__
    register("Words-v0", f"{__name__}:Words", policy="MlpPolicy", presets=FAST)
    register("Words-Large-v0", Words, length=9)
    assert found(Words()).presets_for(Words()) == FAST
    with pytest.raises(ValueError, match="Words-v0 is of the same class"):
        register("Words-Other-v0", Words, policy="TransformerPolicy")


POLICIES = [
    SomePolicy,
    f"{__name__}:SomePolicy",
    own_policy,
    f"{__name__}:own_policy",
    lambda dag: f"{__name__}:SomePolicy",
]


@pytest.mark.parametrize("source", POLICIES)
def test_a_policy_is_a_class_its_path_or_a_function(source: Any) -> None:
    register("Own-v0", Own, policy=source)
    assert found(Own(2)).policy_for(Own(2)) is SomePolicy


@pytest.mark.parametrize("source", [own_presets, f"{__name__}:own_presets"])
def test_both_may_be_functions_of_the_dag(source: Any) -> None:
    register("Own-v0", Own, policy=own_policy, presets=source)
    domain = found(Own())
    assert domain.policy_for(Own(2)) is SomePolicy
    assert domain.policy_for(Own(3)) == "MlpPolicy"
    assert [domain.presets_for(Own(n))["fast"]["SoftDQN"]["n_envs"] for n in (2, 5)] == [2, 5]


def test_presets_by_path() -> None:
    register("Own-v0", Own, presets=f"{__name__}:FAST")
    presets = found(Own()).presets_for(Own())
    assert presets == FAST
    presets["fast"]["SoftDQN"]["n_envs"] = 7  # in a copy
    assert found(Own()).presets_for(Own()) == FAST


# ---- several ids ----------------------------------------------------------------------------


def test_a_second_id_of_a_class_adds_nothing() -> None:
    register("Own-v0", Own, policy=own_policy, presets=FAST)
    register("Own-Small-v0", Own, length=2)
    register("Own-Large-v0", f"{__name__}:Own", presets=dict(FAST), length=9)
    assert found(Own()).policy_for(Own(2)) is SomePolicy
    assert found(Own()).presets_for(Own()) == FAST


@pytest.mark.parametrize("other", [{"policy": "MlpPolicy"}, {"presets": own_presets}])
def test_a_second_id_cannot_bring_others(other: dict[str, Any]) -> None:
    register("Own-v0", Own, presets=FAST)
    with pytest.raises(ValueError, match=r"of Own-Other-v0: Own-v0 is of .*register a subclass"):
        register("Own-Other-v0", Own, **other)
    assert "Own-Other-v0" not in gymnasium.registry
    register("Child-v0", Child, **other)
    assert found(Own()).presets_for(Own()) == FAST


@pytest.mark.filterwarnings("ignore:.*Overriding environment")
def test_an_id_registered_again_is_replaced() -> None:
    register("Own-v0", Own, policy="MlpPolicy", presets=FAST)
    register("Own-v0", Own, presets=own_presets)
    assert found(Own()).policy_for(Own()) is None
    assert found(Own(2)).presets_for(Own(2))["fast"]["SoftDQN"]["n_envs"] == 2
    register("Own-v0", Piles)
    assert domain_of(Own()) is None
    assert found(Piles()).id == "Own-v0"


# ---- bad values -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"id": "Own"}, ValueError, "id='Own' must end in a version"),
        ({"dag": dict}, TypeError, "dag=<class 'dict'> must be a subclass of gfn_gym.DAG"),
        ({"dag": "tests.dags.Own"}, ValueError, "dag='tests.dags.Own' must be 'module:NAME'"),
        ({"policy": 3}, TypeError, "policy=3 must be a policy's name, a class"),
        ({"policy": ""}, ValueError, "policy='' must be"),
        ({"policy": "a b:C"}, ValueError, "policy='a b:C' must be 'module:NAME'"),
        ({"presets": "PRESETS"}, ValueError, "presets='PRESETS' must be 'module:NAME'"),
        ({"presets": [FAST]}, TypeError, "presets must be a dict {preset"),
        ({"presets": dict}, TypeError, "presets must be a dict {preset"),
        ({"presets": {"fast": 3}}, TypeError, "but 'fast' is 3"),
        ({"presets": {"fast": {"SoftDQN": 3}}}, TypeError, "but 'SoftDQN' of 'fast' is 3"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_registered(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        register(**{"id": "Own-v0", "dag": Own, **arguments})
    assert message in str(caught.value)
    assert "Own-v0" not in gymnasium.registry and domain_of(Own()) is None


def test_what_a_function_returns_is_checked_when_it_is_asked() -> None:
    three: Any = lambda dag: 3  # noqa: E731
    fast_is_three: Any = lambda dag: {"fast": 3}  # noqa: E731
    register("Own-v0", Own, policy=three, presets=fast_is_three)
    with pytest.raises(TypeError, match=r"policy=.* of Own-v0 gave 3 for .*; it must be"):
        found(Own()).policy_for(Own())
    with pytest.raises(TypeError, match=r"of Own-v0: presets must be .*, but 'fast' is 3"):
        found(Own()).presets_for(Own())


def test_a_path_that_leads_nowhere_is_an_import_error_when_it_is_asked() -> None:
    register("Own-v0", Own, policy="no_such_module:Policy", presets=f"{__name__}:NOTHING")
    with pytest.raises(ImportError, match="no_such_module"):
        found(Own()).policy_for(Own())
    with pytest.raises(AttributeError, match="NOTHING"):
        found(Own()).presets_for(Own())


# ---- a package of its own -------------------------------------------------------------------

PACKAGE = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "their-gfn"
version = "0.1"
[tool.setuptools]
packages = ["their_gfn"]
""",
    "their_gfn/__init__.py": """
import gfn_gym
gfn_gym.register(
    "Their-v0", "their_gfn.dag:Theirs", policy="their_gfn.network:Network",
    presets="their_gfn.presets:PRESETS",
)
""",
    "their_gfn/dag.py": """
from gfn_gym.envs.hypergrid import Hypergrid
class Theirs(Hypergrid):
    def __init__(self, ndim=2, height=4):
        super().__init__(ndim, height)
""",
    "their_gfn/network.py": "import torch\nclass Network(torch.nn.Module): pass\n",
    "their_gfn/presets.py": "import torch\nPRESETS = {'fast': {'SoftDQN': {'n_envs': 8}}}\n",
}
SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {target!r}]
import gymnasium
env = gymnasium.make("their_gfn:Their-v0", height=5)
env.reset(seed=0)
assert "torch" not in sys.modules and "their_gfn.presets" not in sys.modules
from gfn_gym.registration import domain_of
domain = domain_of(env.unwrapped.dag)
assert domain.id == "Their-v0" and "torch" not in sys.modules
assert domain.presets_for(env.unwrapped.dag)["fast"]["SoftDQN"] == {{"n_envs": 8}}
assert domain.policy_for(env.unwrapped.dag).__module__ == "their_gfn.network"
assert "torch" in sys.modules
"""


def test_an_installed_package_brings_its_domain_and_loads_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for name, content in PACKAGE.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    build = "from setuptools import build_meta; build_meta.build_wheel('.')"
    subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path / "source", check=True, capture_output=True
    )
    (wheel,) = (tmp_path / "source").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "target")  # which is how pure Python installs
    script = SCRIPT.format(root=str(ROOT), target=str(tmp_path / "target"))
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
