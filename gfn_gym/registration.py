"""Registering a domain, our own and users': its environments, and what agents need of it.

A domain is a DAG; with it may come the policy that reads its states, and settings of algorithms.
Both can be named as "module:NAME", and are then imported when an agent asks for them, so that
this package never loads torch.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium

from gfn_gym.arguments import ArgumentTypeError
from gfn_gym.dag import DAG

Settings = Mapping[str, Any]
"""Arguments of an algorithm, by name."""
Presets = Mapping[str, Mapping[str, Settings]]
"""{preset: {algorithm's name: settings}}."""
PolicySource = str | type | Callable[[DAG], str | type]
PresetsSource = str | Presets | Callable[[DAG], Presets]

_domains: dict[str, Domain] = {}  # by id, in the order of registration


@dataclass(frozen=True, slots=True)
class Domain:
    """A registered DAG, and what was registered with it.

    Attributes:
        id: the environment's.
        dag: the DAG's class, or "module:Class" of it.
        policy, presets: as :func:`register` was given them.
    """

    id: str
    dag: str | type[DAG]
    policy: PolicySource | None = None
    presets: PresetsSource | None = None

    def policy_for(self, dag: DAG) -> str | type | None:
        """Return the policy that suits a DAG: a registered name or a class; None if none was given.

        Raises:
            ImportError, AttributeError: "module:Class" does not exist.
            TypeError: it is something else.
        """
        policy = None if self.policy is None else _resolved(self.policy, dag)
        if policy is not None and not isinstance(policy, (str, type)):
            raise TypeError(
                f"policy={self.policy!r} of {self.id} gave {policy!r} for {dag!r}; it must be a "
                "policy's name, a class, or 'module:Class'"
            )
        return policy

    def presets_for(self, dag: DAG) -> dict[str, dict[str, dict[str, Any]]]:
        """Return a DAG's presets, {preset: {algorithm's name: settings}}; empty if none were given.

        Raises:
            ImportError, AttributeError: "module:NAME" does not exist.
            TypeError: it is something else.
        """
        if self.presets is None:
            return {}
        presets = _resolved(self.presets, dag)
        _check_presets(f"presets={self.presets!r} of {self.id}: ", presets)
        return {
            preset: {algorithm: dict(settings) for algorithm, settings in by_algorithm.items()}
            for preset, by_algorithm in presets.items()
        }


def register(
    id: str,
    dag: str | type[DAG],
    policy: PolicySource | None = None,
    presets: PresetsSource | None = None,
    **kwargs: Any,
) -> None:
    """Register a domain: its environment, the terminating variant, and what agents need of it.

    ``register("MyGFN-v0", MyDAG)`` makes ``gymnasium.make`` and ``gymnasium.make_vec`` know
    ``MyGFN-v0``, and ``MyGFN-Terminate-v0``, where an illegal action ends the episode instead of
    raising, for libraries without masks that can pass no arguments.

    ``policy`` and ``presets`` belong to the DAG's class, and to subclasses that are not registered
    themselves. Where several ids share a class, the first brings them. To register an id again
    replaces it.

    Args:
        id: the id, ending in a version, "-v0".
        dag: a subclass of :class:`gfn_gym.DAG`, or "module:Class" of one.
        policy: what ``"auto"`` means to an agent: a registered policy's name, a class,
            "module:Class" (told from a name by its colon), or a function of the DAG that returns
            one of these.
        presets: {preset: {algorithm's name: settings}}, "module:NAME" of such a dict or of a
            function, or a function of the DAG that returns the dict.
        kwargs: defaults for the DAG and the environment.

    Raises:
        TypeError: an argument is of another type; what is named "module:NAME" is seen when it is
            used.
        ValueError: the id has no version, a name is not "module:NAME", or another id of the same
            class has brought another policy or other presets.
    """
    match = re.fullmatch(r"(?P<name>.+)-v(?P<version>\d+)", id)
    if match is None:
        raise ValueError(f"id={id!r} must end in a version, as in 'MyGFN-v0'")
    domain = Domain(id, dag, policy, presets)
    _check(domain)
    terminating = f"{match['name']}-Terminate-v{match['version']}"
    for name, extra in ((id, {}), (terminating, {"invalid_action": "terminate"})):
        gymnasium.register(
            id=name,
            entry_point="gfn_gym.env:make_env",
            vector_entry_point="gfn_gym.vector_env:make_vector_env",
            kwargs={"dag": dag, **kwargs, **extra},
        )
    _domains[id] = domain


def domain_of(dag: DAG) -> Domain | None:
    """Return what was registered for a DAG's class, else for the nearest of its parents; or None.

    Where several ids share the class, the first one's.
    """
    for cls in type(dag).__mro__:
        for domain in _domains.values():
            if _same_class(domain.dag, cls):
                return domain
    return None


def _resolved(source: Any, dag: DAG) -> Any:
    """What a source of a policy or of presets stands for: imported, and asked about the DAG."""
    if _is_path(source):
        source = imported(source)
    if callable(source) and not isinstance(source, type):
        source = source(dag)
    return imported(source) if _is_path(source) else source


def imported(path: str) -> Any:
    """Return what "module:NAME" names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and ":" in value


# ---- checks ---------------------------------------------------------------------------------


def _check(domain: Domain) -> None:
    """See at once what can be seen without importing anything."""
    dag, policy, presets = domain.dag, domain.policy, domain.presets
    if isinstance(dag, str):
        _check_path("dag", dag)
    elif not (isinstance(dag, type) and issubclass(dag, DAG)):
        raise ArgumentTypeError(
            f"dag={dag!r} must be a subclass of gfn_gym.DAG, or 'module:Class' of one"
        )
    if isinstance(policy, str):
        if ":" in policy or not policy:
            _check_path("policy", policy)
    elif policy is not None and not callable(policy):
        raise ArgumentTypeError(
            f"policy={policy!r} must be a policy's name, a class, 'module:Class', or a function "
            "of the DAG"
        )
    if isinstance(presets, str):
        _check_path("presets", presets)
    elif presets is not None and (isinstance(presets, type) or not callable(presets)):
        _check_presets("", presets)
    first = next((d for d in _domains.values() if _same_class(d.dag, dag)), None)
    if first is None or first.id == domain.id:
        return
    for name, ours, theirs in (
        ("policy", policy, first.policy),
        ("presets", presets, first.presets),
    ):
        if ours is not None and ours != theirs:
            raise ValueError(
                f"{name}={ours!r} of {domain.id}: {first.id} is of the same class and has "
                f"{name}={theirs!r}; register a subclass of {dag!r} to give it its own"
            )


def _check_path(name: str, path: str) -> None:
    module, _, attribute = path.partition(":")
    if not (attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(f"{name}={path!r} must be 'module:NAME', as in 'my_package.my_file:NAME'")


def _check_presets(source: str, presets: Any) -> None:
    rule = "presets must be a dict {preset: {algorithm's name: settings}}"
    if not isinstance(presets, Mapping):
        raise ArgumentTypeError(
            f"{source}{rule}, 'module:NAME' of one, or a function of the DAG, not {presets!r}"
        )
    for preset, by_algorithm in presets.items():
        if not isinstance(by_algorithm, Mapping):
            raise ArgumentTypeError(f"{source}{rule}, but {preset!r} is {by_algorithm!r}")
        for algorithm, settings in by_algorithm.items():
            if not isinstance(settings, Mapping):
                raise ArgumentTypeError(
                    f"{source}{rule}, but {algorithm!r} of {preset!r} is {settings!r}"
                )


def _same_class(a: str | type[DAG], b: str | type[DAG]) -> bool:
    """Whether two classes, each itself or as "module:Class", are one."""
    return a == b or _class(a) == _class(b)


def _class(dag: str | type[DAG]) -> Any:
    """A class, or what "module:Class" names if that module has been imported, else its path.

    The module that a path names need not be the one that defines the class: "my_package:MyDAG".
    """
    if not isinstance(dag, str):
        return dag
    module, _, name = dag.partition(":")
    return getattr(sys.modules.get(module), name, dag)
