"""The files that agents write: a zip of JSON, arrays, tensors, and code in a part of its own.

====================  ============================================================================
``data.json``         what kind of file it is, whose, what in it is code, and the values
``arrays/<i>.npy``    arrays, without pickles
``parameters.pt``     state dicts of networks and optimizers, for ``torch.load(weights_only=True)``
``code.pkl``          what is a user's own code, if anything; opened only where that is trusted
``system_info.txt``   with which versions it was written, for people
====================  ============================================================================
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import torch as th
from stable_baselines3.common.utils import get_system_info

import gfn_gym

from .atomic_files import replaced
from .plain_data import Reader, Writer

FORMAT = 2
"""The first was Stable-Baselines3's: pickles throughout."""


class SavedFileError(ValueError):
    """A saved file is damaged, of another kind, or holds code and was not said to be trusted."""


# ---- writing ----------------------------------------------------------------------------------


def write_archive(
    path: Any,
    kind: str,
    values: dict[str, Any],
    parameters: dict[str, Any] | None = None,
    **head: Any,
) -> None:
    """Write a file; one that is at the path is untouched until the new one is whole.

    Args:
        path: a path, to which ".zip" is added if it has no suffix, or an open binary file.
        kind: "model", "checkpoint", "replay buffer" or "policy".
        values: what is encoded by :class:`.plain_data.Writer`.
        parameters: state dicts by name.
        head: what can be seen without decoding the values; JSON's own types.

    Raises:
        OSError: it could not be written.
        TypeError: something in it can be neither written as data nor pickled.
    """
    writer = Writer()
    data = {name: writer.encode(value, name) for name, value in values.items()}
    about = {"format": FORMAT, "version": gfn_gym.__version__, "kind": kind, **head}
    text = json.dumps({**about, "code": writer.names, "values": data}, allow_nan=False)
    code = cloudpickle.dumps(writer.code) if writer.code else None
    if not isinstance(path, (str, os.PathLike)):
        _write(path, text, writer.arrays, parameters, code)
        return
    with replaced(with_suffix(path), kind) as file:
        _write(file, text, writer.arrays, parameters, code)


def _write(
    file: Any,
    text: str,
    arrays: list[np.ndarray],
    parameters: dict[str, Any] | None,
    code: bytes | None,
) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.json", text)
        for place, array in enumerate(arrays):
            with archive.open(f"arrays/{place}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
        if parameters is not None:
            with archive.open("parameters.pt", "w", force_zip64=True) as entry:
                th.save(parameters, entry)
        if code is not None:
            archive.writestr("code.pkl", code)
        archive.writestr("system_info.txt", _system_info())


@lru_cache(maxsize=1)
def _system_info() -> str:
    return get_system_info(print_info=False)[1]


def with_suffix(path: str | os.PathLike[str]) -> Path:
    """A path to write to, as SB3 has it: ".zip" is added where it has no suffix."""
    path = Path(path)
    return path if path.suffix else Path(f"{path}.zip")


# ---- reading ----------------------------------------------------------------------------------


class Archive:
    """An open file that :func:`write_archive` wrote, or an earlier version did.

    Attributes:
        name: of the file, for messages.
        head: what :func:`write_archive` was given as ``kind`` and ``head``; "earlier" is the kind
            of a file of pickles.
    """

    def __init__(self, name: str, file: zipfile.ZipFile):
        self.name, self._zip = name, file
        entries = file.namelist()
        if "data.json" not in entries:
            if not {"data", "state.pkl"} & set(entries):
                raise SavedFileError(f"{name} was not written by GFN Gym: it has no data.json")
            self.head: dict[str, Any] = {"kind": "earlier"}
            return
        self.head = json.loads(file.read("data.json"))
        if not isinstance(self.head, dict) or self.head.get("format") != FORMAT:
            raise SavedFileError(f"{name} is of a format that this version of GFN Gym cannot read")

    @property
    def kind(self) -> str:
        return str(self.head["kind"])

    def require(self, kind: str, hint: str = "") -> None:
        """Raise an error unless the file is of this kind."""
        if self.kind != kind:
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise SavedFileError(f"{self.name} is not a {kind}, but {article} {self.kind}{hint}")

    def values(self, trusted: bool, without: Any = ()) -> dict[str, Any]:
        """Return the values, except those that are named in ``without``.

        Raises:
            SavedFileError: some of them are code, and the file is not trusted.
        """
        values = {k: v for k, v in self.head["values"].items() if k not in without}
        return self._reader(trusted).decoded(values)

    def value(self, name: str) -> Any:
        """Return one of the values, which must be data."""
        return self._reader(trusted=False).decode(self.head["values"][name])

    def holds_code(self, name: str) -> bool:
        """Whether one of the values is code, or has some in it."""
        return _holds_code(self.head["values"].get(name))

    def _reader(self, trusted: bool) -> Reader:
        code: list[Any] = []

        def code_at(place: int) -> Any:
            if not trusted:
                raise SavedFileError(self._refusal())
            if not code:
                code.extend(pickle.loads(self._zip.read("code.pkl")))
            return code[place]

        return Reader(self._array, code_at)

    def _refusal(self) -> str:
        names = "; ".join(map(str, self.head["code"]))
        return (
            f"{self.name} holds code, which is run when it is opened: {names}. If you trust where "
            "the file comes from, pass trusted=True"
        )

    def _array(self, place: int) -> np.ndarray:
        with self._zip.open(f"arrays/{int(place)}.npy") as entry:
            array: np.ndarray = np.lib.format.read_array(entry, allow_pickle=False)
            if entry.read(1):
                raise ValueError(f"arrays/{place}.npy is longer than its header says")
            return array

    def parameters(self, device: th.device | str) -> dict[str, Any]:
        """Return the state dicts by name, on a device."""
        content = io.BytesIO(self._zip.read("parameters.pt"))
        found = th.load(content, map_location=device, weights_only=True)
        if not isinstance(found, dict):
            raise ValueError("parameters.pt is not a dict of state dicts")
        return found

    def print_system_info(self) -> None:
        """Print with which versions the file was written."""
        print("== SAVED MODEL SYSTEM INFO ==")
        print(self._zip.read("system_info.txt").decode())


@contextmanager
def opened(path: Any) -> Iterator[Archive]:
    """Open a saved file; whatever is found wrong with it in the block is said in one way.

    Args:
        path: a path, of which ".zip" may be left out, or an open binary file, which is read from
            where it stands and left there.

    Raises:
        SavedFileError: the file is damaged or not one of ours; the message names it.
        FileNotFoundError: there is none.
    """
    name = name_of(path)
    if isinstance(path, (str, os.PathLike)):
        found = Path(path) if Path(path).is_file() else Path(f"{path}.zip")
        name = str(found)
        if not found.is_file():
            raise FileNotFoundError(2, "there is no such file", str(path))
        file: Any = found.open("rb")
    else:
        file = io.BytesIO(path.read())
        path.seek(-file.getbuffer().nbytes, os.SEEK_CUR)
    with file, explained(name), zipfile.ZipFile(file) as archive:
        yield Archive(name, archive)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn whatever is raised while a file is read into a SavedFileError that names the file."""
    try:
        yield
    except (SavedFileError, FileNotFoundError):
        raise
    except zipfile.BadZipFile as error:
        raise SavedFileError(
            f"{name} is damaged, or was not written by GFN Gym: {error} (a file that was cut "
            "short has no end)"
        ) from error
    except Exception as error:  # of any of the libraries that read the parts
        raise SavedFileError(
            f"{name} is damaged, or does not fit this version of GFN Gym: "
            f"{type(error).__name__}: {_first_line(error)}"
        ) from error


def _holds_code(data: Any) -> bool:
    if isinstance(data, list):
        return any(map(_holds_code, data))
    return isinstance(data, dict) and ("code" in data or any(map(_holds_code, data.values())))


def name_of(path: Any) -> str:
    """What to call a file in messages."""
    if isinstance(path, (str, os.PathLike)):
        return str(path)
    return str(getattr(path, "name", "the file object"))


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300]


def run_of(path: str | os.PathLike[str]) -> str | None:
    """Return the id of the run that wrote a file; None where that cannot be told."""
    try:
        with opened(path) as archive:
            run = archive.head.get("run")
            return None if run is None else str(run)
    except (SavedFileError, OSError):
        return None
