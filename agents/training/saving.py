"""Reading saved models and replay buffers, with errors that say what is wrong with them."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.save_util import load_from_pkl, load_from_zip_file


def check_saved_model(
    path: Any,
    algorithm: str,
    device: th.device | str,
    custom_objects: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the attributes of a saved model; a file object is left at its start.

    Raises:
        ValueError: it is not one, or one of another algorithm.
    """
    data, _, _ = load_from_zip_file(path, device=device, custom_objects=custom_objects)
    if hasattr(path, "seek"):
        path.seek(0)
    if data is None:
        raise ValueError(f"{path} is not a saved model (a checkpoint is read by resume())")
    if data.get("algorithm") != algorithm:
        saved = data.get("algorithm", "another library")
        raise ValueError(f"{path} was saved by {saved}, not by {algorithm}: load it there")
    return dict(data)


def read_replay_buffer(path: Any, ours: Any, verbose: int = 0) -> Any:
    """Return a saved replay buffer in the place of ``ours``.

    Raises:
        ValueError: it is of another kind, or its states, actions, size or settings are others.
    """
    theirs: Any = load_from_pkl(path, verbose)
    if type(theirs) is not type(ours):
        raise ValueError(f"{path} holds a {type(theirs).__name__}, not a {type(ours).__name__}")
    for name in ours.identity:
        if getattr(ours, name) != getattr(theirs, name):
            raise ValueError(
                f"the replay buffer's {name} is {getattr(theirs, name)}, but the model's is "
                f"{getattr(ours, name)}"
            )
    theirs.attach(ours)
    return theirs
