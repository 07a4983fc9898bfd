"""A run's files: none is lost to another run, to a full disk, or to weights that are NaN."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch as th

from gfn_gym import GFNEnv
from gfn_gym.agents import EvaluationCallback, SoftDQN, TrainingCheckpoint
from gfn_gym.agents.training import atomic_files
from gfn_gym.agents.training.archive import run_of
from gfn_gym.envs.hypergrid import Hypergrid

EXAMPLE = Path(__file__).parent.parent / "examples" / "hypergrid.py"
SMALL: dict[str, Any] = {
    "n_envs": 4, "learning_starts": 16, "batch_size": 16, "buffer_size": 200, "train_freq": 4,
    "policy_kwargs": {"net_arch": [8]}, "seed": 0,
}  # fmt: skip


def new_model() -> Any:
    return SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), **SMALL)


# ---- another run's files ----------------------------------------------------------------------


def test_a_checkpoint_of_another_run_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.zip"
    first = new_model().learn(100, callback=TrainingCheckpoint(path))
    content, second = path.read_bytes(), new_model()
    assert run_of(path) == first.run != second.run
    with pytest.raises(FileExistsError, match=r"an earlier run's checkpoint.*overwrite=True"):
        second.learn(100, callback=TrainingCheckpoint(path))
    assert second.num_timesteps == 0 and path.read_bytes() == content
    resumed = SoftDQN.resume(path)
    assert resumed.run == first.run
    resumed.learn(callback=TrainingCheckpoint(path))  # the same run
    second.learn(100, callback=TrainingCheckpoint(path, overwrite=True))
    assert run_of(path) == second.run
    path.write_text("something else")
    with pytest.raises(FileExistsError):
        new_model().learn(100, callback=TrainingCheckpoint(path))
    assert path.read_text() == "something else"


def test_a_best_model_of_another_run_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "best_model.zip"
    evaluation = EvaluationCallback(50, best_model_save_path=tmp_path)
    first = new_model().learn(300, callback=evaluation)
    first.learn(100, callback=evaluation, reset_num_timesteps=False)  # by the same callback
    content, second = path.read_bytes(), new_model()
    for again in (second, first, SoftDQN.load(path)):
        with pytest.raises(FileExistsError, match=r"an earlier run's best model.*overwrite=True"):
            again.learn(100, callback=EvaluationCallback(50, best_model_save_path=tmp_path))
    assert second.num_timesteps == 0 and path.read_bytes() == content
    overwriting = EvaluationCallback(50, best_model_save_path=tmp_path, overwrite=True)
    second.learn(100, callback=overwriting)
    assert run_of(path) == second.run


def test_a_resumed_run_keeps_its_best_model(tmp_path: Path) -> None:
    def callbacks() -> list[Any]:
        checkpoint = TrainingCheckpoint(tmp_path / "checkpoint.zip")
        return [EvaluationCallback(50, best_model_save_path=tmp_path), checkpoint]

    first, second = callbacks(), callbacks()
    new_model().learn(200, callback=first)
    SoftDQN.resume(tmp_path / "checkpoint.zip").learn(callback=second)
    assert second[0].best == first[0].best
    (tmp_path / "best_model.zip").unlink()
    new_model().save(tmp_path / "best_model.zip")  # another run's, put there meanwhile
    with pytest.raises(FileExistsError, match="best model"):
        SoftDQN.resume(tmp_path / "checkpoint.zip").learn(callback=callbacks())


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(EXAMPLE), "train", "--ndim", 2, "--height", 4, *arguments]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)


def test_an_example_destroys_no_run_unless_told(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = command("--agent", "tb", "--trajectories", 32, "--evaluations", 1, "--out", out)
    assert first.returncode == 0, first.stderr
    kept = {path.name: path.read_bytes() for path in out.glob("*.[jz]*")}
    assert set(kept) == {"config.json", "checkpoint.zip", "best_model.zip", "model.zip"}
    refused = command("--trajectories", 32, "--out", out)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "holds a run (config.json, checkpoint.zip" in refused.stderr
    assert "--resume" in refused.stderr and "--overwrite" in refused.stderr
    failed = command("--trajectories", 0, "--overwrite", "--out", out)
    assert failed.returncode == 1
    assert {path.name: path.read_bytes() for path in out.glob("*.[jz]*")} == kept
    told = command("--agent", "tb", "--trajectories", 48, "--evaluations", 1, "--overwrite",
                   "--out", out)  # fmt: skip
    assert told.returncode == 0, told.stderr
    config = json.loads((out / "config.json").read_text())
    assert config["trajectories"] == 48 and not config["overwrite"]


# ---- weights that are NaN ---------------------------------------------------------------------


def test_nan_weights_are_never_checkpointed(tmp_path: Path) -> None:
    path, model = tmp_path / "checkpoint.zip", new_model()
    model.learn(100, callback=TrainingCheckpoint(path))
    content = path.read_bytes()
    with th.no_grad():
        next(model.policy.online.parameters())[0] = th.nan
    with pytest.raises(FloatingPointError, match=r"checkpoint\.zip was left as it was"):
        model.save_checkpoint(path)
    callback = TrainingCheckpoint(path, (4, "episode"), on_error="warn")
    with pytest.raises(FloatingPointError):
        model.learn(100, callback=callback, reset_num_timesteps=False)
    assert path.read_bytes() == content


# ---- two writers, a full disk, a kill ---------------------------------------------------------


def test_two_writers_of_one_path_do_not_meet(tmp_path: Path) -> None:
    """Threads here; temporary files have names of their own in any case."""
    path, model = tmp_path / "model.zip", new_model()
    model.save(path)
    wrong: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(10):
                model.save(path)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert run_of(path) == model.run  # whole at every moment
    for thread in threads:
        thread.join()
    assert not wrong and [p.name for p in tmp_path.iterdir()] == ["model.zip"]


HOLD = """
import sys, time
from gfn_gym.agents.training.atomic_files import PathLock
PathLock(sys.argv[1]).acquire("checkpoints")
print("held", flush=True)
time.sleep(60)
"""


def test_a_path_that_another_process_checkpoints_to_is_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "checkpoint.zip", new_model()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        try:
            with pytest.raises(BlockingIOError, match=rf"another process \({other.pid}\)"):
                model.learn(50, callback=TrainingCheckpoint(path))
        finally:
            other.kill()
    model.learn(50, callback=TrainingCheckpoint(path))  # it died, and holds nothing
    assert not path.with_name("checkpoint.zip.lock").exists()


def test_a_training_that_fails_lets_the_path_go(tmp_path: Path) -> None:
    path, model = tmp_path / "checkpoint.zip", new_model()

    def fail(*_: Any) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.learn(50, callback=[TrainingCheckpoint(path), _callback(fail)])
    assert list(tmp_path.iterdir()) == []


def _callback(function: Any) -> Any:
    from stable_baselines3.common.callbacks import ConvertCallback

    return ConvertCallback(function)


def test_a_model_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, model = tmp_path / "model.zip", new_model()
    model.save(path)
    content = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with pytest.raises(OSError, match=r"could not write the model .*No space.*untouched"):
        model.save(path)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


def test_what_a_kill_leaves_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.zip"
    old, new = (tmp_path / f"checkpoint.zip.{name}.part" for name in ("1-old", "2-new"))
    old.write_text("half")
    new.write_text("half")
    os.utime(old, (time.time() - 3600,) * 2)
    new_model().learn(50, callback=TrainingCheckpoint(path))
    assert not old.exists() and new.exists()  # which another process may be writing


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "latest.zip").symlink_to(tmp_path / "models" / "one.zip")
    new_model().save(tmp_path / "latest.zip")
    assert (tmp_path / "latest.zip").is_symlink() and (tmp_path / "models" / "one.zip").is_file()
