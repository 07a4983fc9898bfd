"""Checkpoints: everything that a killed training needs to go on as if nothing had happened."""

from __future__ import annotations

import io
import os
import pickle
import random
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import get_device

from gfn_gym.arguments import flag
from gfn_gym.rewards import slow_reward_of

from ..vec_env import GFNVecEnv
from .archive import SavedFileError, explained, opened, run_of, with_suffix, write_archive
from .atomic_files import PathLock, require_writable
from .callback_states import CallbackStates
from .frequency import Frequency
from .saving import attributes_of, check_attributes, make_model, require_algorithm, require_trust

if TYPE_CHECKING:
    from ..base import GFNAlgorithm

Model = TypeVar("Model", bound="GFNAlgorithm")


def write_checkpoint(model: GFNAlgorithm, path: str | os.PathLike[str]) -> None:
    """See :meth:`GFNAlgorithm.save_checkpoint`.

    ``save`` and ``load`` keep SB3's meaning: a model to predict with, or to train anew. A
    checkpoint goes further: networks, target and optimizer, replay with priorities, episodes in
    flight, counters and totals, every generator, and the callbacks' state.
    """
    if not (getattr(model, "_total_timesteps", 0) or model._total_trajectories):
        raise ValueError("there is no training to checkpoint yet: call learn(), or save()")
    if not all(p.isfinite().all() for p in model.policy.parameters()):
        raise model._diverged(f"a weight is not finite, so {path} was left as it was,")
    reward = slow_reward_of(model.dag)
    state = {
        "env": model.env.state_dict(),
        "replay_buffer": model.replay_buffer.state_dict(),
        "callbacks": model._callback_states.current(),
        "generators": _generators(model),
        "exploration": None if model.exploration is None else model.exploration.state_dict(),
        "metrics": dict(model._metrics),  # the next line of the log is their mean
        "rewards": None if reward is None else reward.state_dict(),
        "collected": (
            model._collected if model._collection is None else model._collection.state_dict()
        ),
    }
    values = {"model": attributes_of(model), "training": state}
    head = {"algorithm": model.algorithm, "run": model.run}
    write_archive(Path(path), "checkpoint", values, model.get_parameters(), **head)


def read_checkpoint(
    algorithm: type[Model],
    path: str | os.PathLike[str],
    device: th.device | str,
    trusted: bool = False,
) -> Model:
    """See :meth:`GFNAlgorithm.resume`."""
    with opened(path) as archive:
        name, earlier = archive.name, archive.kind == "earlier"
        if earlier:
            require_trust(name, trusted)
        else:
            archive.require("checkpoint", ": use load() for what save() wrote")
            require_algorithm(archive, algorithm)
            values = archive.values(trusted)
            attributes, state = values["model"], values["training"]
            check_attributes(name, algorithm, attributes)
            saved = attributes, archive.parameters(get_device(device))
            run = archive.head["run"]
    if earlier:
        return _read_earlier_checkpoint(algorithm, path, device)
    model = make_model(algorithm, name, saved, device=device)
    model.run = run
    with explained(name):
        _restore(model, state)
    return model


def _read_earlier_checkpoint(
    algorithm: type[Model], path: str | os.PathLike[str], device: th.device | str
) -> Model:
    """Read a checkpoint of pickles, which may run code."""
    with zipfile.ZipFile(path) as archive:
        if "state.pkl" not in archive.namelist():
            raise SavedFileError(f"{path} is not a checkpoint: use load() for what save() wrote")
        inner = io.BytesIO(archive.read("model.zip"))
        with archive.open("state.pkl") as file:
            state = pickle.load(file)
    model = algorithm.load(inner, device=device, trusted=True)
    _restore(model, state)
    return model


def _restore(model: GFNAlgorithm, state: dict[str, Any]) -> None:
    """Give a loaded model what a checkpoint holds besides."""
    env = GFNVecEnv(model.mdp, model.n_envs, model.observation)
    env.load_state_dict(state["env"])
    model.env = env
    model.replay_buffer.load_state_dict(state["replay_buffer"])
    model._callback_states = CallbackStates(state["callbacks"])
    model._metrics.update(state["metrics"])
    model._collected = state.get("collected")  # earlier checkpoints have neither
    reward = slow_reward_of(model.dag)
    if reward is not None and state.get("rewards") is not None:
        reward.load_state_dict(state["rewards"])
    if model.exploration is not None:
        model.exploration.load_state_dict(state["exploration"])
    model._resumed = True
    _set_generators(model, state["generators"])


class TrainingCheckpoint(BaseCallback):
    """Writes a checkpoint every so often, between rollouts, for :meth:`GFNAlgorithm.resume`.

    Args:
        path: the file; each checkpoint takes the place of the last. While a training runs, no
            other process can checkpoint there.
        save_freq: (number, "episode") trajectories, or a number of environment steps.
        on_error: "raise" an OSError when a checkpoint cannot be written, or "warn" and go on
            training; the previous checkpoint survives either way.
        overwrite: whether the file may be another run's; otherwise that is refused before the
            training begins. The run that was resumed from it is the same run.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        save_freq: int | tuple[int, str] = (10_000, "episode"),
        on_error: str = "raise",
        overwrite: bool = False,
    ):
        super().__init__()
        if on_error not in ("raise", "warn"):
            raise ValueError(f"on_error={on_error!r} must be 'raise' or 'warn'")
        self.path = with_suffix(path)
        self.on_error = on_error
        self.overwrite = flag("overwrite", overwrite)
        self.frequency = Frequency(save_freq, "save_freq")
        self._lock = PathLock(self.path)
        self._wrote = False

    def _init_callback(self) -> None:
        model: Any = self.model
        if not hasattr(model, "save_checkpoint"):
            raise TypeError(f"{type(self.model).__name__} cannot be resumed from a checkpoint")
        require_writable(self.path, "checkpoints")
        ours = self._wrote or self.overwrite or run_of(self.path) == model.run
        if self.path.exists() and not ours:
            raise FileExistsError(
                17,
                "an earlier run's checkpoint is there: resume() it, choose another path, or pass "
                "overwrite=True to replace it",
                str(self.path),
            )

    def _on_training_start(self) -> None:
        self._lock.acquire("checkpoints")

    def _on_rollout_start(self) -> None:
        if self.frequency.due(self.model):
            self._save()

    def _on_training_end(self) -> None:
        self._save()

    def _on_step(self) -> bool:
        return True

    def _save(self) -> None:
        model: Any = self.model
        try:
            model.save_checkpoint(self.path)
            self._wrote = True
        except OSError as error:
            if self.on_error == "raise":
                raise
            warnings.warn(
                f"{error} (after {model._episode_num} trajectories); training goes on",
                RuntimeWarning,
                stacklevel=2,
            )

    def release(self) -> None:
        """Let other processes write to the path again; called when learn() is left."""
        self._lock.release()

    def state_dict(self) -> dict[str, Any]:
        return self.frequency.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.frequency.load_state_dict(state)


# ---- generators ---------------------------------------------------------------------------------


def _generators(model: GFNAlgorithm) -> dict[str, Any]:
    on_gpu = model.device.type == "cuda"
    return {
        "policy": model.policy.generator.bit_generator.state,
        "replay": model.replay_buffer.generator.bit_generator.state,
        # Dropout draws from torch's global generator, or from the GPU's.
        "torch": th.get_rng_state().numpy(),
        "cuda": th.cuda.get_rng_state(model.device).numpy() if on_gpu else None,
        "numpy": np.random.get_state(),  # noqa: NPY002 - SB3 seeds and uses the global ones
        "python": random.getstate(),
    }


def _set_generators(model: GFNAlgorithm, states: dict[str, Any]) -> None:
    model.policy.generator.bit_generator.state = states["policy"]
    model.replay_buffer.generator.bit_generator.state = states["replay"]
    th.set_rng_state(th.as_tensor(states["torch"]))
    if states.get("cuda") is not None and model.device.type == "cuda":
        th.cuda.set_rng_state(th.as_tensor(states["cuda"]), model.device)
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])
