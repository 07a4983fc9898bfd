"""Registering a DAG with Gymnasium, our own and users'."""

from __future__ import annotations

import re
from typing import Any

import gymnasium

from gfn_gym.dag import DAG


def register(id: str, dag: str | type[DAG], **kwargs: Any) -> None:
    """Register the environment of a DAG, and its terminating variant.

    ``register("MyGFN-v0", MyDAG)`` makes ``gymnasium.make`` and ``gymnasium.make_vec`` know
    ``MyGFN-v0``, and ``MyGFN-Terminate-v0``, where an illegal action ends the episode instead of
    raising, for libraries without masks that can pass no arguments.

    Args:
        id: the id, ending in a version, "-v0".
        dag: a subclass of :class:`gfn_gym.DAG`, or "module:Class" of one.
        kwargs: defaults for the DAG and the environment.

    Raises:
        ValueError: the id has no version.
    """
    match = re.fullmatch(r"(?P<name>.+)-v(?P<version>\d+)", id)
    if match is None:
        raise ValueError(f"id={id!r} must end in a version, as in 'MyGFN-v0'")
    terminating = f"{match['name']}-Terminate-v{match['version']}"
    for name, extra in ((id, {}), (terminating, {"invalid_action": "terminate"})):
        gymnasium.register(
            id=name,
            entry_point="gfn_gym.env:make_env",
            vector_entry_point="gfn_gym.vector_env:make_vector_env",
            kwargs={"dag": dag, **kwargs, **extra},
        )
