"""Values as plain data: JSON and arrays, from which they are made again without running a file.

What is data and what is code is decided here. Everything that JSON lacks is a dict of one entry,
its tag and its content; ``TAGS`` has what each is read by. Classes are named within fixed
lists (torch's optimizers and modules, registered DAGs and architectures, frozen dataclasses of this
project), never imported from wherever a file says. The rest is code: the writer collects it, to be
pickled in a part of its own.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from gfn_gym.dag import DAG
from gfn_gym.env import dag_class
from gfn_gym.mdp import MDP
from gfn_gym.registration import id_of, imported, registered

from ..architectures import ARCHITECTURES, Architecture

SCHEDULES: dict[str, tuple[type, tuple[str, ...]]] = {
    "ConstantSchedule": (ConstantSchedule, ("val",)),
    "FloatSchedule": (FloatSchedule, ("value_schedule",)),
    "LinearSchedule": (LinearSchedule, ("start", "end", "end_fraction")),
}
LIBRARIES: dict[str, tuple[Any, type, str]] = {
    "torch.optim": (th.optim, th.optim.Optimizer, "torch.optim."),
    "torch.nn": (th.nn, th.nn.Module, "torch.nn.modules."),
}


class Writer:
    """Turns values into what JSON can hold.

    Attributes:
        arrays: what is to be written beside the JSON, which names them by their places here.
        code: what is not data, likewise.
        names: what each of ``code`` is, and where, in words.
    """

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.code: list[Any] = []
        self.names: list[str] = []

    def encode(self, value: Any, where: str) -> Any:
        """Return a value as JSON's own types; ``where`` it stands is for ``names``."""
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if type(value) is list:
            return self._all(value, where)
        for encode in (self._container, self._array, self._space, self._known, self._class):
            found = encode(value, where)
            if found is not None:
                return found
        return self._code(value, where)

    def _all(self, values: Any, where: str) -> list[Any]:
        return [self.encode(value, f"{where}[{i}]") for i, value in enumerate(values)]

    def _code(self, value: Any, where: str) -> dict[str, Any]:
        self.code.append(value)
        name = getattr(value, "__qualname__", None) or f"an object of {type(value).__qualname__}"
        self.names.append(f"{where} ({name})")
        return {"code": len(self.code) - 1}

    def _container(self, value: Any, where: str) -> Any:
        if type(value) is tuple:
            return {"tuple": self._all(value, where)}
        if type(value) in (set, frozenset):
            return {type(value).__name__: self._all(value, where)}
        if type(value) is dict:
            pairs = [
                [self.encode(key, where), self.encode(item, f"{where}.{key}")]
                for key, item in value.items()
            ]
            return {"dict": pairs}
        if type(value) is deque:
            return {"deque": [self._all(value, where), value.maxlen]}
        if isinstance(value, PurePath):
            return {"path": str(value)}
        if type(value) is partial and _in_library(value.func, "torch.nn"):  # an activation
            given = {n: self.encode(v, f"{where}.{n}") for n, v in value.keywords.items()}
            return {"partial": [value.func.__name__, self._all(value.args, where), given]}
        if isinstance(value, TrainFreq):
            return {"train_freq": [value.frequency, value.unit.value]}
        return None

    def _array(self, value: Any, where: str) -> Any:
        if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.itemsize <= 8:
            return {"number": [value.dtype.str, self.encode(value.item(), where)]}
        if isinstance(value, th.Tensor) and type(value) is th.Tensor and not value.is_sparse:
            if value.dtype is th.bfloat16 or value.requires_grad:
                return None
            return {"tensor": self._store(value.cpu().numpy())}
        if type(value) is np.ndarray and value.dtype.kind in "biufcSU":
            return {"array": self._store(value)}
        return None

    def _store(self, array: np.ndarray) -> int:
        self.arrays.append(array)
        return len(self.arrays) - 1

    def _space(self, value: Any, where: str) -> Any:
        if type(value) is spaces.Discrete:
            return {"Discrete": [int(value.n), int(value.start)]}
        if type(value) is spaces.MultiDiscrete:
            parts = value.nvec, value.start
            return {"MultiDiscrete": [*self._all(parts, where), value.dtype.str]}
        if type(value) is spaces.Box:
            return {"Box": [*self._all((value.low, value.high), where), value.dtype.str]}
        return None

    def _known(self, value: Any, where: str) -> Any:
        if type(value) is MDP:
            names = list(inspect.signature(MDP).parameters)
            return {"mdp": {n: self.encode(getattr(value, n), f"{where}.{n}") for n in names}}
        if isinstance(value, DAG):
            return self._dag(value, where)
        for name, (cls, attributes) in SCHEDULES.items():
            if type(value) is cls:
                inside = [self.encode(getattr(value, n), f"{where}.{n}") for n in attributes]
                return {"schedule": [name, *inside]}
        if not isinstance(value, type) and _is_value_class(type(value)):
            fields = [f.name for f in dataclasses.fields(value) if f.init]
            given = {n: self.encode(getattr(value, n), f"{where}.{n}") for n in fields}
            return {"value": [f"{type(value).__module__}:{type(value).__qualname__}", given]}
        return None

    def _dag(self, dag: DAG, where: str) -> Any:
        id, arguments = id_of(dag), dag.arguments()
        if id is None or arguments is None:
            return None
        given = {name: self.encode(value, f"{where}.{name}") for name, value in arguments.items()}
        return {"dag": [id, given]}

    def _class(self, value: Any, where: str) -> Any:
        if not isinstance(value, type):
            return None
        own = value.__name__
        for name, (library, _, _) in LIBRARIES.items():
            if getattr(library, own, None) is value and _in_library(value, name):
                return {name: own}
        if issubclass(value, Architecture):
            for name, architecture in ARCHITECTURES.items():
                if value is architecture:
                    return {"architecture": name}
        return None


class Reader:
    """Makes values again of what :class:`Writer` made of them.

    Args:
        array: the array at a place.
        code: what is not data, at a place; raises an error unless the file is trusted.
    """

    def __init__(self, array: Callable[[int], np.ndarray], code: Callable[[int], Any]):
        self.array, self.code = array, code

    def decode(self, data: Any) -> Any:
        """Return the value.

        Raises:
            ValueError, TypeError, KeyError: no writer made this.
        """
        if isinstance(data, list):
            return [self.decode(item) for item in data]
        if not isinstance(data, dict):
            return data
        ((tag, content),) = data.items()
        if tag not in TAGS:
            raise ValueError(f"unknown kind of value {tag!r}")
        return TAGS[tag](self, content)

    def decoded(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return a dict of values by name."""
        return {name: self.decode(value) for name, value in content.items()}


# ---- what each tag is read by: (reader, content) → value ----------------------------------------


def _number(reader: Reader, content: Any) -> Any:
    dtype = np.dtype(content[0])
    if dtype.kind not in "biuf":
        raise ValueError(f"{content[0]!r} is not a type of numbers")
    return dtype.type(reader.decode(content[1]))


def _multi_discrete(reader: Reader, content: Any) -> Any:
    nvec, start, dtype = reader.decode(content)
    return spaces.MultiDiscrete(nvec, dtype=np.dtype(dtype).type, start=start)


def _box(reader: Reader, content: Any) -> Any:
    low, high, dtype = reader.decode(content)
    return spaces.Box(low, high, dtype=np.dtype(dtype).type)


def _schedule(reader: Reader, content: Any) -> Any:
    name, *given = content
    return SCHEDULES[name][0](*reader.decode(given))


def _dag_of(reader: Reader, content: Any) -> DAG:
    id, given = content
    return dag_class(registered(id).dag)(**reader.decoded(given))


def _value(reader: Reader, content: Any) -> Any:
    path, given = content
    if not str(path).startswith("gfn_gym."):
        raise ValueError(f"{path!r} is not of gfn_gym")
    cls = imported(path)
    if not (_is_value_class(cls) and f"{cls.__module__}:{cls.__qualname__}" == path):
        raise ValueError(f"{path!r} is not a class of plain values")
    return cls(**reader.decoded(given))


def _partial(reader: Reader, content: Any) -> Any:
    name, args, keywords = content
    made = _from_library("torch.nn")(reader, name)
    return partial(made, *reader.decode(args), **reader.decoded(keywords))


def _from_library(name: str) -> Callable[[Reader, Any], Any]:
    def read(reader: Reader, content: Any) -> Any:
        found = getattr(LIBRARIES[name][0], str(content), None)
        if not _in_library(found, name):
            raise ValueError(f"{content!r} is not a class of {name} that a model may name")
        return found

    return read


TAGS: dict[str, Callable[[Reader, Any], Any]] = {
    "float": lambda reader, content: float(content),
    "tuple": lambda reader, content: tuple(reader.decode(content)),
    "set": lambda reader, content: set(reader.decode(content)),
    "frozenset": lambda reader, content: frozenset(reader.decode(content)),
    "dict": lambda reader, content: {reader.decode(k): reader.decode(v) for k, v in content},
    "deque": lambda reader, content: deque(reader.decode(content[0]), content[1]),
    "partial": _partial,
    "path": lambda reader, content: Path(content),
    "train_freq": lambda reader, content: TrainFreq(content[0], TrainFrequencyUnit(content[1])),
    "number": _number,
    "array": lambda reader, content: reader.array(content),
    "tensor": lambda reader, content: th.from_numpy(reader.array(content)),
    "Discrete": lambda reader, content: spaces.Discrete(content[0], start=content[1]),
    "MultiDiscrete": _multi_discrete,
    "Box": _box,
    "mdp": lambda reader, content: MDP(**reader.decoded(content)),
    "dag": _dag_of,
    "schedule": _schedule,
    "value": _value,
    "architecture": lambda reader, content: ARCHITECTURES[content],
    "code": lambda reader, content: reader.code(content),
    **{name: _from_library(name) for name in LIBRARIES},
}


# ---- the lists ----------------------------------------------------------------------------------


def _is_value_class(cls: Any) -> bool:
    """Whether a class is a frozen dataclass of this project's."""
    parameters = getattr(cls, "__dataclass_params__", None)
    ours = getattr(cls, "__module__", "").startswith("gfn_gym.")
    return isinstance(cls, type) and ours and parameters is not None and parameters.frozen


def _in_library(cls: Any, name: str) -> bool:
    _, parent, module = LIBRARIES[name]
    return isinstance(cls, type) and issubclass(cls, parent) and cls.__module__.startswith(module)
