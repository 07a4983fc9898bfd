"""Pages that are made from the package itself: one per environment, and the API reference.

Nothing here names a domain: an environment has its page as soon as it is registered.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import gfn_gym
from gfn_gym import agents, evaluation, registration, rewards
from gfn_gym.dag import DAG

PUBLIC = (gfn_gym, evaluation, rewards, agents)
"""Packages whose ``__all__`` is documented under their own name."""


MOVED = ("gfn_gym.evaluation.molecules", "gfn_gym.envs.molecule.resilient")
"""Modules that are only the old place of something."""


def domains() -> dict[type[DAG], list[str]]:
    """The DAGs of our registered environments, with their ids."""
    found: dict[type[DAG], list[str]] = {}
    for domain in registration._domains.values():
        dag = registration.imported(domain.dag) if isinstance(domain.dag, str) else domain.dag
        if dag.__module__.startswith("gfn_gym."):
            found.setdefault(dag, []).append(domain.id)
    return found


def environments() -> dict[str, str]:
    """A page per environment, {path: text}, and their list."""
    rows, pages, names = [], {}, []
    for dag, ids in domains().items():
        name = dag.__name__.lower()
        all_ids = [variant for id in ids for variant in (id, id.replace("-v", "-Terminate-v"))]
        summary = (inspect.getdoc(dag) or "").split("\n\n")[0].replace("``", "`")
        rows.append(f"| [{dag.__name__}]({name}.md) | `{'`, `'.join(ids)}` | {summary} |")
        names.append(name)
        pages[f"environments/{name}.md"] = f"""\
# {dag.__name__}

![the construction of an object](../pictures/{name}.gif)

```python
import gymnasium

env = gymnasium.make("gfn_gym:{ids[0]}")
observation, info = env.reset(seed=0)
action = env.action_space.sample(info["action_mask"])  # a legal one, uniformly
observation, reward, terminated, truncated, info = env.step(action)
```

Registered as {", ".join(f"`{id}`" for id in all_ids)}. The Terminate variants end an episode at an
illegal action, for libraries without action masks. All take the arguments below, and as many
environments at once with `gymnasium.make_vec(id, num_envs=…)`.

```{{eval-rst}}
.. autoclass:: {dag.__module__}.{dag.__name__}
   :members:
```
"""
    table = "\n".join(["| | ids | |", "| --- | --- | --- |", *rows])
    pages["environments/index.md"] = f"""\
# Environments

{table}

All of them are [Gymnasium](https://gymnasium.farama.org) environments, made from a class that
describes a DAG; [your own](../extending.md) has the same standing.

```{{toctree}}
:hidden:
{chr(10).join(names)}
```
"""
    return pages


def api() -> dict[str, str]:
    """The API reference, a page per package."""
    elsewhere = {(dag.__module__, dag.__name__) for dag in domains()} | {
        (getattr(getattr(package, name), "__module__", ""), name)
        for package in PUBLIC
        for name in package.__all__
    }
    public = {f"{package.__name__}.{name}" for package in PUBLIC for name in package.__all__}
    pages, names = {}, []
    for package in [*PUBLIC, *sub_packages()]:
        name = package.__name__.replace(".", "_")
        exclude = with_own_page() if package is agents else []
        own = package not in PUBLIC  # what these import is documented in its module
        parts = [f"# {package.__name__}\n", automodule(package.__name__, exclude, own=own)]
        for module in modules_of(package):
            exclude = sorted(n for m, n in elsewhere if m == module.__name__)
            parts.append(f"## {module.__name__.removeprefix(package.__name__ + '.')}\n")
            hidden = module.__name__ in public  # a function of the same name has the entry
            parts.append(automodule(module.__name__, exclude, hidden=hidden))
        pages[f"api/{name}.md"] = "\n".join(parts)
        names.append(name)
    pages["api/index.md"] = f"""\
# API reference

Made from the docstrings. Shapes are those of numpy arrays or torch tensors; n is the number of rows
of a batch.

```{{toctree}}
:maxdepth: 2
{chr(10).join(names)}
```
"""
    return pages


def with_own_page() -> list[str]:
    """Names in gfn_gym.agents that have a page of their own under algorithms/."""
    return [name for name in agents.__all__ if algorithm_page(name)]


def algorithm_page(name: str) -> bool:
    value = getattr(agents, name)
    is_algorithm = inspect.isclass(value) and issubclass(value, agents.GFNAlgorithm)
    return name == "MENTS" or (is_algorithm and value is not agents.GFNAlgorithm)


def sub_packages() -> list[ModuleType]:
    found = []
    for package in (gfn_gym, agents):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if info.ispkg and info.name not in {public.__name__ for public in PUBLIC}:
                found.append(importlib.import_module(info.name))
    return found


def modules_of(package: ModuleType) -> list[ModuleType]:
    infos = pkgutil.iter_modules(package.__path__, package.__name__ + ".")
    names = [info.name for info in infos if not info.ispkg and info.name not in MOVED]
    return [importlib.import_module(name) for name in names]


def automodule(name: str, exclude: list[str], own: bool = False, hidden: bool = False) -> str:
    """Sphinx's directive that documents a module, except what has its place elsewhere."""
    lines = ["```{eval-rst}", f".. automodule:: {name}", "   :members:"]
    if exclude:
        lines.append(f"   :exclude-members: {', '.join(exclude)}")
    if own:
        lines.append("   :ignore-module-all:")
    if hidden:
        lines.append("   :no-index:")
    return "\n".join([*lines, "```", ""])
