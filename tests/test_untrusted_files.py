"""Crafted files: what they hold must not run when they are opened, unless they are trusted."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import save_to_zip_file

import gfn_gym
from dags import Words
from gfn_gym import GFNEnv
from gfn_gym.agents import (
    DetailedBalance,
    EntropicPPO,
    FlowMatching,
    MunchausenDQN,
    SoftActorCritic,
    SoftDQN,
    SubTrajectoryBalance,
    TrainingCheckpoint,
    TrajectoryBalance,
)
from gfn_gym.agents.architectures import MLP
from gfn_gym.agents.training.archive import SavedFileError, opened
from gfn_gym.agents.training.checkpoint import _generators
from gfn_gym.agents.training.plain_data import Reader, Writer
from gfn_gym.envs.hypergrid import Hypergrid, HypergridReward

SMALL: dict[str, Any] = {
    "n_envs": 4,
    "learning_starts": 16,
    "batch_size": 16,
    "buffer_size": 200,
    "train_freq": 4,
    "policy_kwargs": {"net_arch": [8]},
    "seed": 0,
}


class Payload:
    """What makes a folder when it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="module")
def model() -> Any:
    return SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), **SMALL).learn(100)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Exists once a payload has run."""
    return tmp_path / "mark"


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_entries(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in content.items():
            archive.writestr(name, part)
    return path


def saved(model: Any, path: Path, kind: str) -> Path:
    write: dict[str, Any] = {
        "model": model.save,
        "checkpoint": model.save_checkpoint,
        "replay": model.save_replay_buffer,
        "policy": model.policy.save,
    }
    write[kind](path)
    return path


def altered(path: Path, **parts: bytes) -> Path:
    """The file with other parts; data.json's values are changed by :func:`with_value`."""
    return write_entries(path, {**entries(path), **parts})


def with_value(path: Path, name: str, value: Any) -> Path:
    """The file with another value in data.json, as a writer that means harm would put it there."""
    head = json.loads(entries(path)["data.json"])
    values = head["values"]
    if "model" in values:
        values = {key: item for key, item in values["model"]["dict"]}  # noqa: C416
    values[name] = value
    head["values"] = (
        {**head["values"], "model": {"dict": [[k, v] for k, v in values.items()]}}
        if "model" in head["values"]
        else values
    )
    return altered(path, **{"data.json": json.dumps(head).encode()})


def object_array(payload: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([payload], dtype=object), allow_pickle=True)
    return file.getvalue()


def tensors_with(payload: Any) -> bytes:
    file = io.BytesIO()
    th.save({"policy": payload}, file)
    return file.getvalue()


# ---- files of pickles -------------------------------------------------------------------------


def sb3_attribute(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    data = {"algorithm": "SoftDQN", "learning_rate": Payload(mark)}
    save_to_zip_file(path, data=data, params=model.get_parameters())
    return SoftDQN.load


def sb3_state_dict(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    write_entries(path, {"data": b"{}", "policy.pth": tensors_with(Payload(mark))})
    return SoftDQN.load


def earlier_state(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    saved(model, path, "model")
    content = {"model.zip": path.read_bytes(), "state.pkl": pickle.dumps(Payload(mark))}
    write_entries(path, content)
    return SoftDQN.resume


def earlier_inner_model(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    sb3_attribute(model, path, mark)
    write_entries(path, {"model.zip": path.read_bytes(), "state.pkl": pickle.dumps({})})
    return SoftDQN.resume


def pickled_buffer(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    path.write_bytes(pickle.dumps(Payload(mark)))
    return model.load_replay_buffer


def pickled_policy(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    path.write_bytes(tensors_with(Payload(mark)))
    return type(model.policy).load


def bare_pickle(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    path.write_bytes(pickle.dumps(Payload(mark), protocol=0))  # begins like no other
    return SoftDQN.load


# ---- files of our format ----------------------------------------------------------------------


def in_parameters(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    altered(saved(model, path, "model"), **{"parameters.pt": tensors_with(Payload(mark))})
    return SoftDQN.load


def in_parameters_only(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    in_parameters(model, path, mark)
    return model.set_parameters


def in_array(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    altered(saved(model, path, "replay"), **{"arrays/0.npy": object_array(Payload(mark))})
    return model.load_replay_buffer


def in_array_of_a_checkpoint(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    altered(saved(model, path, "checkpoint"), **{"arrays/1.npy": object_array(Payload(mark))})
    return SoftDQN.resume


def in_code(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    code = pickle.dumps([Payload(mark)])
    altered(saved(model, path, "model"), **{"code.pkl": code})
    with_value(path, "learning_rate", {"code": 0})
    return SoftDQN.load


def in_code_of_a_checkpoint(model: Any, path: Path, mark: Path) -> Callable[..., Any]:
    code = pickle.dumps([Payload(mark)])
    altered(saved(model, path, "checkpoint"), **{"code.pkl": code})
    with_value(path, "learning_rate", {"code": 0})
    return SoftDQN.resume


PICKLES = [sb3_attribute, earlier_state, earlier_inner_model, pickled_buffer]
CODE = [in_code, in_code_of_a_checkpoint]
NEVER = [
    sb3_state_dict, pickled_policy, bare_pickle, in_parameters, in_parameters_only, in_array,
    in_array_of_a_checkpoint,
]  # fmt: skip


@pytest.mark.parametrize("craft", [*PICKLES, *CODE, *NEVER])
def test_a_crafted_file_does_not_run(craft: Any, model: Any, tmp_path: Path, mark: Path) -> None:
    path = tmp_path / "crafted.zip"
    read = craft(model, path, mark)
    with pytest.raises(SavedFileError, match=r"crafted\.zip"):
        read(path)
    assert not mark.exists()


@pytest.mark.parametrize("craft", [*PICKLES, *CODE])
def test_it_says_trusted_and_then_runs(craft: Any, model: Any, tmp_path: Path, mark: Path) -> None:
    """Else the test above would be of payloads that do nothing."""
    path = tmp_path / "crafted.zip"
    read = craft(model, path, mark)
    with pytest.raises(SavedFileError, match="pass trusted=True"):
        read(path)
    with pytest.raises((ValueError, TypeError, AttributeError, KeyError)):  # it is no model
        read(path, trusted=True)
    assert mark.exists()


def test_code_that_no_value_needs_is_not_opened(model: Any, tmp_path: Path, mark: Path) -> None:
    path = saved(model, tmp_path / "model.zip", "model")
    altered(path, **{"code.pkl": pickle.dumps([Payload(mark)])})
    assert SoftDQN.load(path).n_envs == 4
    assert SoftDQN.load(path, trusted=True).n_envs == 4 and not mark.exists()


MAKES_A_FOLDER = "gfn_gym.agents.training.atomic_files:require_writable"


@pytest.mark.parametrize(
    "value",
    [
        {"dag": ["os:system", {}]},
        {"dag": ["CartPole-v1", {}]},
        {"value": ["os:mkdir", {"path": "MARK"}]},
        {"value": ["gfn_gym.agents.training.atomic_files:os", {}]},
        {"value": [MAKES_A_FOLDER, {"path": "MARK", "what": ""}]},
        {"value": ["gfn_gym.env:GFNEnv", {}]},
        {"architecture": "os:system"},
        {"torch.optim": "Adam.__init__.__globals__"},
        {"torch.optim": "lr_scheduler"},
        {"torch.nn": "Parameter"},
        {"torch.hub": "load"},
        {"partial": ["system", ["true"], {}]},
        {"schedule": ["eval", "1"]},
        {"number": ["O", 1]},
        {"call": ["os:mkdir", "MARK"]},
        {"!python/object": 1},
        {"tuple": [], "code": 0},
    ],
)
def test_classes_are_those_of_fixed_lists(
    value: Any, model: Any, tmp_path: Path, mark: Path
) -> None:
    path = saved(model, tmp_path / "model.zip", "model")
    told = json.loads(json.dumps(value).replace("MARK", str(mark / "file")))
    with pytest.raises(SavedFileError, match=r"model\.zip is damaged"):
        SoftDQN.load(with_value(path, "learning_rate", told))
    assert not mark.exists()


@pytest.mark.parametrize("name", ["learn", "_setup_model", "__class__", "dump_logs"])
def test_an_attribute_takes_the_place_of_no_method(name: str, model: Any, tmp_path: Path) -> None:
    path = with_value(saved(model, tmp_path / "model.zip", "model"), name, 1)
    with pytest.raises(SavedFileError, match=rf"{name}.*not attributes"):
        SoftDQN.load(path)


def test_a_checkpoint_gives_a_callback_no_other_path(tmp_path: Path) -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), **SMALL)
    path = tmp_path / "checkpoint.zip"
    model.learn(100, callback=TrainingCheckpoint(path))
    theirs = [("TrainingCheckpoint", {
        "own": {"next": 50}, "counters": {"path": str(tmp_path / "other.zip"), "n_calls": 3},
    })]  # fmt: skip
    model._callback_states._saved = theirs
    model.save_checkpoint(path)
    again = TrainingCheckpoint(path)
    SoftDQN.resume(path).learn(callback=again)
    assert again.path == path and not (tmp_path / "other.zip").exists()
    assert again.n_calls >= 3


# ---- what needs no trust, and what does -------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "env", "preset"),
    [
        (MunchausenDQN, "HypergridGFN-v0", "fast"),
        (SoftDQN, "HypergridGFN-Hard-v0", "paper"),
        (SoftActorCritic, "HypergridGFN-v0", "paper"),
        (FlowMatching, "HypergridGFN-v0", "paper"),
        (TrajectoryBalance, "HypergridGFN-v0", "paper"),
        (DetailedBalance, "HypergridGFN-v0", "paper"),
        (SubTrajectoryBalance, "HypergridGFN-v0", "paper"),
        (EntropicPPO, "HypergridGFN-v0", "paper"),
        (SoftDQN, "BitSequenceGFN-v0", "paper"),
        (MunchausenDQN, "MoleculeGFN-v0", "fast"),
    ],
)
def test_what_comes_with_the_project_is_data(
    algorithm: Any, env: str, preset: str, tmp_path: Path
) -> None:
    model = algorithm("auto", env, preset=preset, n_envs=2, seed=0, device="cpu")
    path = tmp_path / "model.zip"
    model.save(path)
    assert set(entries(path)) >= {"data.json", "parameters.pt", "system_info.txt"}
    assert "code.pkl" not in entries(path)
    loaded = algorithm.load(path, device="cpu")
    states = model.dag.initial_states(2)
    assert (loaded.policy.log_probs(states) == model.policy.log_probs(states)).all()
    assert repr(loaded.dag) == repr(model.dag)


def test_settings_are_data(tmp_path: Path) -> None:
    kwargs = {
        **SMALL,
        "policy_kwargs": {
            "net_arch": (8, 8), "activation_fn": th.nn.Tanh,
            "optimizer_class": th.optim.AdamW, "optimizer_kwargs": {"betas": (0.9, 0.99)},
        },
    }  # fmt: skip
    dag = Hypergrid(2, np.int64(4), reward=HypergridReward(0.1, 0.5, 2.0), reward_exponent=0.5)
    model = SoftDQN("MlpPolicy", GFNEnv(dag, observation="state"), **kwargs)
    model.save(tmp_path / "model")
    loaded = SoftDQN.load(tmp_path / "model")
    assert loaded.policy_kwargs == kwargs["policy_kwargs"]
    assert loaded.dag.reward == dag.reward and loaded.dag.reward_exponent == 0.5
    assert loaded.train_freq == model.train_freq
    assert loaded.observation_space == dag.state_space
    model.policy.save(tmp_path / "policy.zip")
    assert type(type(model.policy).load(tmp_path / "policy.zip").optimizer) is th.optim.AdamW


def test_values_come_back_as_they_were() -> None:
    values = [
        None, True, 2**200, "α", -0.0, float("inf"), [1, [2.5]], (1, (2,)), {(1, "a"): {"b": None}},
        {3, 4}, frozenset({"x"}), deque([1, 2], maxlen=3), np.float32(0.1), np.bool_(True),
        np.arange(6, dtype=np.int16).reshape(2, 3).T, np.array(["a", "bc"]), th.ones(2, 3),
        Path("a/b"), spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 3], dtype=np.int8),
        spaces.Box(-1.0, np.inf, (2,)), np.random.default_rng(3).bit_generator.state,
    ]  # fmt: skip
    writer = Writer()
    text = json.dumps([writer.encode(value, "here") for value in values], allow_nan=False)
    reader = Reader(writer.arrays.__getitem__, writer.code.__getitem__)
    assert writer.code == []
    for value, again in zip(values, reader.decode(json.loads(text)), strict=True):
        assert type(again) is type(value)
        if isinstance(value, (np.ndarray, np.generic)):
            assert again.dtype == value.dtype and (again == value).all()
        elif isinstance(value, th.Tensor):
            assert again.equal(value)
        else:
            assert again == value and repr(again) == repr(value)
    assert again["state"] == values[-1]["state"]
    assert np.isnan(reader.decode(writer.encode(float("nan"), "here")))


class Wide(MLP):
    pass


class Registered(Hypergrid):
    def __init__(self, side: int, **kwargs: Any):
        super().__init__(2, side, **kwargs)


def test_a_registered_domain_is_data_where_it_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dict(gfn_gym.registration._domains)
    monkeypatch.setattr(gfn_gym.registration, "_domains", known)
    gfn_gym.register("RegisteredGFN-v0", Registered, policy=Wide)
    model = SoftDQN("auto", GFNEnv(Registered(4, reward="hard")), **SMALL)
    path = tmp_path / "model.zip"
    model.save(path)
    loaded = SoftDQN.load(path)
    assert type(loaded.dag) is Registered and loaded.dag.arguments() == {
        "side": 4, "reward": "hard"
    }  # fmt: skip
    assert loaded.policy_class is Wide
    del known["RegisteredGFN-v0"]
    with pytest.raises(SavedFileError, match="no DAG is registered as 'RegisteredGFN-v0'"):
        SoftDQN.load(path)


@pytest.mark.parametrize(
    ("policy", "dag", "rate", "named"),
    [
        ("MlpPolicy", Words(), 1e-3, r"mdp\.dag \(an object of Words\)"),
        (Wide, Hypergrid(2, 4), 1e-3, r"policy_class \(Wide\)"),
        ("MlpPolicy", Hypergrid(2, 4), lambda progress: 1e-3 * progress, r"learning_rate .*lambda"),
    ],
)
def test_a_users_own_code_needs_trust_and_is_named(
    policy: Any, dag: Any, rate: Any, named: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.zip"
    model = SoftDQN(policy, GFNEnv(dag), learning_rate=rate, **SMALL)
    model.save(path)
    with pytest.raises(SavedFileError, match=named):
        SoftDQN.load(path)
    loaded = SoftDQN.load(path, trusted=True)
    states = dag.initial_states(2)
    assert (loaded.policy.log_probs(states) == model.policy.log_probs(states)).all()
    given = {"mdp": model.mdp, "policy_class": model.policy_class}  # by whoever loads it
    given |= {"learning_rate": 1e-3, "lr_schedule": None}
    assert SoftDQN.load(path, custom_objects=given).n_envs == 4


def test_an_environment_takes_the_place_of_one_that_is_code(tmp_path: Path, mark: Path) -> None:
    def reward(states: Any) -> Any:
        mark.mkdir(exist_ok=True)
        return states.sum(axis=1) / 3.0

    path = tmp_path / "model.zip"
    model = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4, reward=reward)), **SMALL)
    model.save(path)
    mark.rmdir()
    loaded = SoftDQN.load(path, env=GFNEnv(Hypergrid(2, 4)))
    assert loaded.dag.reward == "standard" and not mark.exists()
    states = model.dag.initial_states(2)
    assert (loaded.policy.log_probs(states) == model.policy.log_probs(states)).all()
    with pytest.raises(SavedFileError, match=r"height=5.*model\.zip was made for .*height=4"):
        SoftDQN.load(path, env=GFNEnv(Hypergrid(2, 5)))


# ---- files of an earlier version --------------------------------------------------------------


def test_earlier_files_are_read_where_they_are_trusted(tmp_path: Path) -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), **SMALL).learn(100)
    paths = [tmp_path / name for name in ("model.zip", "checkpoint.zip", "replay.pkl")]
    BaseAlgorithm.save(model, paths[0])
    state = {
        "env": model.env.state_dict(), "replay_buffer": model.replay_buffer.state_dict(),
        "callbacks": [], "generators": _generators(model), "metrics": {},
    }  # fmt: skip
    parts = {"model.zip": paths[0].read_bytes(), "state.pkl": pickle.dumps(state)}
    write_entries(paths[1], parts)
    paths[2].write_bytes(pickle.dumps(model.replay_buffer))
    other = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), **SMALL)
    readers = SoftDQN.load, SoftDQN.resume, other.load_replay_buffer
    for read, path in zip(readers, paths, strict=True):
        with pytest.raises(SavedFileError, match=f"{path.name} is a file of pickles.*trusted=True"):
            read(path)
    states = model.dag.initial_states(2)
    for read, path in zip(readers[:2], paths[:2], strict=True):
        again = read(path, trusted=True)
        assert (again.policy.log_probs(states) == model.policy.log_probs(states)).all()
    assert again.replay_buffer.size() == model.replay_buffer.size() > 0
    other.load_replay_buffer(paths[2], trusted=True)
    assert other.replay_buffer.size() == model.replay_buffer.size()
    other.set_parameters(paths[0])  # weights alone run nothing
    assert (other.policy.log_probs(states) == model.policy.log_probs(states)).all()


# ---- damaged files ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["model", "checkpoint", "replay", "policy"])
def test_a_damaged_file_is_named_whatever_is_wrong(kind: str, model: Any, tmp_path: Path) -> None:
    content = saved(model, tmp_path / "good.zip", kind).read_bytes()
    path = tmp_path / "damaged.zip"
    read: dict[str, Any] = {
        "model": SoftDQN.load,
        "checkpoint": SoftDQN.resume,
        "replay": model.load_replay_buffer,
        "policy": type(model.policy).load,
    }
    generator, refused = np.random.default_rng(0), 0
    damages = [content[: int(n)] for n in generator.integers(len(content), size=8)]
    for place in generator.integers(len(content), size=32):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(generator.integers(8))
        damages.append(bytes(flipped))
    for damaged in damages:
        path.write_bytes(damaged)
        try:
            read[kind](path)  # what is in no part, or says only when it was written, may differ
        except SavedFileError as error:
            assert "damaged.zip" in str(error)
            refused += 1
    assert refused > 20


def test_a_part_that_is_missing_or_of_another_model_is_named(model: Any, tmp_path: Path) -> None:
    path = saved(model, tmp_path / "model.zip", "model")
    content = entries(path)
    for left_out in ("data.json", "parameters.pt"):
        write_entries(path, {k: v for k, v in content.items() if k != left_out})
        with pytest.raises(SavedFileError, match=rf"model\.zip .*{left_out}"):
            SoftDQN.load(path)
    other = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 5)), **SMALL)
    theirs = entries(saved(other, tmp_path / "other.zip", "model"))["parameters.pt"]
    write_entries(path, {**content, "parameters.pt": theirs})
    with pytest.raises(SavedFileError, match=r"model\.zip: the parameters do not fit"):
        SoftDQN.load(path)
    write_entries(path, {**content, "data.json": b'{"format": 3}'})
    with pytest.raises(SavedFileError, match=r"format that this version .* cannot read"):
        SoftDQN.load(path)
    with pytest.raises(SavedFileError, match="the file object is damaged"):
        SoftDQN.load(io.BytesIO(b"PK nothing"))


def test_a_file_says_what_it_is(model: Any, tmp_path: Path) -> None:
    for kind in ("model", "checkpoint", "replay", "policy"):
        with opened(saved(model, tmp_path / f"{kind}.zip", kind)) as archive:
            assert archive.kind == {"replay": "replay buffer"}.get(kind, kind)
    with pytest.raises(SavedFileError, match="is not a replay buffer, but a model"):
        model.load_replay_buffer(tmp_path / "model.zip")
    with pytest.raises(SavedFileError, match="is not a policy, but a checkpoint"):
        type(model.policy).load(tmp_path / "checkpoint.zip")
