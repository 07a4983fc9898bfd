"""Training that is killed and resumed gives the same numbers as training that was not."""

from __future__ import annotations

import csv
import errno
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from resume_worker import KILL_AT, TOTALS, log_to, make_callbacks, make_model
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import (
    BaseCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
)

from gfn_gym import GFNEnv
from gfn_gym.agents import (
    EvaluationCallback,
    FlowMatching,
    MunchausenDQN,
    SoftActorCritic,
    SoftDQN,
    TrainingCheckpoint,
    TrajectoryBalance,
)
from gfn_gym.envs.hypergrid import Hypergrid

ALGORITHMS: dict[str, Any] = {
    "SoftDQN": SoftDQN,
    "MunchausenDQN": MunchausenDQN,
    "TrajectoryBalance": TrajectoryBalance,
}
OTHERS: dict[str, Any] = {"SoftActorCritic": SoftActorCritic, "FlowMatching": FlowMatching}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = th.get_num_threads()
    th.set_num_threads(1)
    yield
    th.set_num_threads(before)


def run_worker(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    worker = Path(__file__).with_name("resume_worker.py")
    return subprocess.run(
        [sys.executable, str(worker), str(folder), *args],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


# ---- comparing ------------------------------------------------------------------------------


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Bit for bit, through dicts, lists, arrays and tensors."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}/{number}")
    elif isinstance(a, th.Tensor):
        assert a.equal(b), where
    else:
        assert np.array_equal(a, b), where


def everything(model: Any, evaluation: Any) -> dict[str, Any]:
    """All that training has made, except for seconds."""
    history = [{k: v for k, v in row.items() if k != "cpu_seconds"} for row in evaluation.history]
    assert model.ep_info_buffer is not None
    return {
        "parameters": model.get_parameters(),  # and optimisers
        "replay": model.replay_buffer.state_dict(),
        "in flight": model.get_env().state_dict(),
        "counters": [model.num_timesteps, model._episode_num, model._n_updates, model._credit],
        "episodes": [(episode["r"], episode["l"]) for episode in model.ep_info_buffer],
        "generators": [
            model.policy.generator.bit_generator.state,
            model.replay_buffer.generator.bit_generator.state,
        ],
        "history": history,
        "best": evaluation.best,
    }


def read_log(folder: Path) -> dict[str, dict[str, str]]:
    """What was logged of the training, by the number of trajectories."""
    with (folder / "progress.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["time/trajectories"]]
    return {
        row["time/trajectories"]: {
            key: value for key, value in row.items() if key.startswith(("train/", "rollout/"))
        }
        for row in rows
    }


def of_type(callbacks: list[Any], name: str) -> Any:
    return next(callback for callback in callbacks if type(callback).__name__ == name)


# ---- killed and resumed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "unit"),
    [
        *((algorithm, unit) for algorithm in ("SoftDQN", "MunchausenDQN") for unit in TOTALS),
        ("TrajectoryBalance", "steps"),
    ],
)
def test_killed_and_resumed_is_as_never_killed(algorithm: str, unit: str, tmp_path: Path) -> None:
    whole, killed, resumed = (tmp_path / name for name in ("whole", "killed", "resumed"))
    unbroken, callbacks = log_to(make_model(algorithm), whole), make_callbacks(whole, algorithm)
    unbroken.learn(**TOTALS[unit], callback=callbacks, log_interval=100)
    assert unbroken.num_timesteps > 1.4 * KILL_AT

    result = run_worker(killed, algorithm, unit, "kill")
    assert result.returncode == -signal.SIGKILL, result.stderr

    model = log_to(ALGORITHMS[algorithm].resume(killed / "checkpoint.zip"), resumed)
    assert 0.5 * KILL_AT < model.num_timesteps < KILL_AT
    with pytest.raises(ValueError, match="goes on to its original total"):
        model.learn(**TOTALS[unit])
    again = make_callbacks(killed, algorithm)
    model.learn(callback=again, log_interval=100)

    ours, theirs = (of_type(c, "EvaluationCallback") for c in (again, callbacks))
    assert_same(everything(model, ours), everything(unbroken, theirs))
    ours, theirs = (of_type(c, "EvalCallback") for c in (again, callbacks))
    for name in ("best_mean_reward", "evaluations_results", "evaluations_timesteps", "n_calls"):
        assert_same(getattr(ours, name), getattr(theirs, name), name)
    for folder in (unbroken, model):
        folder.logger.close()
    log, expected = read_log(resumed), read_log(whole)
    assert log and log == {key: expected[key] for key in log}

    model.learn(400, reset_num_timesteps=False, log_interval=10**6)  # the log is closed
    assert model.num_timesteps >= unbroken.num_timesteps + 400


@pytest.mark.parametrize("algorithm", OTHERS)
def test_interrupted_and_resumed_is_as_never_interrupted(algorithm: str, tmp_path: Path) -> None:
    """The loop is the same for all, so no process need be killed again."""
    whole, first = make_model(algorithm), make_model(algorithm)
    ours, theirs = EvaluationCallback((90, "episode")), EvaluationCallback((90, "episode"))
    whole.learn(1200, callback=theirs)
    checkpoint = TrainingCheckpoint(tmp_path / "checkpoint.zip", 200)
    lost = EvaluationCallback((90, "episode"))
    with pytest.raises(KeyboardInterrupt):
        first.learn(1200, callback=[lost, checkpoint, Interrupt(777)])
    second = OTHERS[algorithm].resume(tmp_path / "checkpoint.zip")
    assert 200 < second.num_timesteps < 777
    second.learn(callback=[ours, TrainingCheckpoint(tmp_path / "other.zip", 200)])
    assert_same(everything(second, ours), everything(whole, theirs))


def test_resuming_a_finished_training_does_nothing_more(tmp_path: Path) -> None:
    model = make_model("SoftDQN")
    model.learn(600, callback=TrainingCheckpoint(tmp_path / "checkpoint.zip"))
    again = SoftDQN.resume(tmp_path / "checkpoint.zip")
    assert again.learn()._n_updates == model._n_updates
    assert_same(dict(again.policy.state_dict()), dict(model.policy.state_dict()))


class Interrupt(BaseCallback):
    def __init__(self, at: int):
        super().__init__()
        self.at = at

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.at:
            raise KeyboardInterrupt
        return True


def test_a_model_resumed_twice_goes_on_as_well(tmp_path: Path) -> None:
    """Interrupted from the keyboard this time, in the middle of two rollouts."""
    path = tmp_path / "checkpoint.zip"
    whole, first = make_model("MunchausenDQN"), make_model("MunchausenDQN")
    whole.learn(1500, callback=TrainingCheckpoint(tmp_path / "whole.zip", 200))
    with pytest.raises(KeyboardInterrupt):
        first.learn(1500, callback=[TrainingCheckpoint(path, 200), Interrupt(555)])
    second = MunchausenDQN.resume(path)
    assert 200 < second.num_timesteps < 555
    with pytest.raises(KeyboardInterrupt):
        second.learn(callback=[TrainingCheckpoint(path, 200), Interrupt(1111)])
    third = MunchausenDQN.resume(path)
    assert 800 < third.num_timesteps < 1111
    third.learn()
    assert_same(dict(third.policy.state_dict()), dict(whole.policy.state_dict()))


def test_states_of_nested_callbacks_of_sb3_survive(tmp_path: Path) -> None:
    def callbacks() -> list[Any]:
        inner = EvaluationCallback(100)
        stop = StopTrainingOnMaxEpisodes(10_000)
        checkpoint = TrainingCheckpoint(tmp_path / "checkpoint.zip", 10**9)
        return [EveryNTimesteps(130, inner), stop, checkpoint]

    first, second = callbacks(), callbacks()
    make_model("SoftDQN").learn(800, callback=first)
    SoftDQN.resume(tmp_path / "checkpoint.zip").learn(callback=second)
    assert second[0].last_time_trigger == first[0].last_time_trigger > 0
    assert second[0].n_calls == first[0].n_calls > 0
    assert second[1].n_episodes == first[1].n_episodes > 0
    assert second[0].callback.best == first[0].callback.best


# ---- checkpoints that cannot be written -----------------------------------------------------


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the place of a folder")
    model = make_model("SoftDQN")
    for path in (tmp_path / "file" / "checkpoint.zip", Path("/proc/nowhere/checkpoint.zip")):
        with pytest.raises(OSError, match="cannot write checkpoints") as caught:
            model.learn(500, callback=TrainingCheckpoint(path))
        assert caught.value.filename == str(path)
    assert model.num_timesteps == 0


def test_a_full_disk_stops_the_training_and_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    result = run_worker(tmp_path, "SoftDQN", "steps", "raise", "60000")
    last = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1 and "could not write the checkpoint" in last, result.stderr
    assert f"[Errno {errno.EFBIG}]" in last and "the previous one is untouched" in last
    assert "checkpoint.zip" in last
    model = SoftDQN.resume(tmp_path / "checkpoint.zip")
    assert 0 < model.num_timesteps < 3200
    assert [path.name for path in tmp_path.glob("*.part")] == []
    assert model.learn().num_timesteps == 3200  # the disk has room again


def test_a_full_disk_may_be_warned_of_only(tmp_path: Path) -> None:
    result = run_worker(tmp_path, "SoftDQN", "steps", "warn", "60000")
    assert result.returncode == 0, result.stderr
    assert "RuntimeWarning" in result.stderr and "the previous one is untouched" in result.stderr
    assert "trajectories); training goes on" in result.stderr
    model = SoftDQN.resume(tmp_path / "checkpoint.zip")
    assert 0 < model.num_timesteps < 3200


def test_a_failed_checkpoint_leaves_the_file_before_it_alone(tmp_path: Path) -> None:
    model = make_model("SoftDQN").learn(200)
    path = tmp_path / "checkpoint.zip"
    model.save_checkpoint(path)
    content = path.read_bytes()
    model.replay_buffer.max_priority = threading.Lock()  # which cannot be pickled
    with pytest.raises(TypeError, match="pickle"):
        model.save_checkpoint(path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.zip"]


# ---- arguments ------------------------------------------------------------------------------


def test_checkpoint_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on_error='ignore' must be 'raise' or 'warn'"):
        TrainingCheckpoint(tmp_path / "checkpoint.zip", on_error="ignore")
    for value in (0, -1, (5, "epoch"), 1.5):
        with pytest.raises(ValueError, match="save_freq"):
            TrainingCheckpoint(tmp_path / "checkpoint.zip", save_freq=value)


def test_other_algorithms_are_refused(tmp_path: Path) -> None:
    model = MaskablePPO("MlpPolicy", GFNEnv(Hypergrid(2, 4)), n_steps=32, batch_size=32)
    with pytest.raises(TypeError, match="MaskablePPO cannot be resumed"):
        model.learn(64, callback=TrainingCheckpoint(tmp_path / "checkpoint.zip"))


def test_resuming_what_is_no_checkpoint_says_so(tmp_path: Path) -> None:
    make_model("SoftDQN").save(tmp_path / "model.zip")
    with pytest.raises(ValueError, match=r"model\.zip.*is not a checkpoint"):
        SoftDQN.resume(tmp_path / "model.zip")
    with pytest.raises(FileNotFoundError):
        SoftDQN.resume(tmp_path / "nothing.zip")
    make_model("SoftDQN").learn(50, callback=TrainingCheckpoint(tmp_path / "checkpoint.zip"))
    with pytest.raises(ValueError, match="SoftDQN"):
        MunchausenDQN.resume(tmp_path / "checkpoint.zip")
