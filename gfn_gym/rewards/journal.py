"""Rewards written down as they arrive, which outlive the process."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from gfn_gym.arguments import is_finite

logger = logging.getLogger(__name__)


class Journal:
    """A file of one JSON line a reward: ``["ACGT", -3.5]``.

    Several processes of a machine may write to it at a time.

    Args:
        path: of the file, which need not exist yet; its folder must.

    Raises:
        ValueError: there is no such folder, or the path is a folder itself.
        TypeError: not a path.
    """

    def __init__(self, path: str | os.PathLike[str]):
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"journal={path!r} must be the path of a file")
        self.path = Path(path)
        self.check()

    def check(self) -> None:
        """Raise a ValueError where the file cannot be."""
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise ValueError(f"journal={str(self.path)!r} must be a file, in a folder that exists")

    def read(self) -> Iterator[tuple[str, float]]:
        """Yield strings and log R, in the order in which they were written."""
        if not self.path.exists():
            return
        # A byte that is not text becomes a backslash, which makes the line no JSON.
        with self.path.open(encoding="utf-8", errors="backslashreplace") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                reward = _reward(line)
                if reward is not None:
                    yield reward
                else:  # its writer was cut off, or somebody has edited it
                    logger.warning("%s, line %d is not a reward: %r", self.path, number, line)

    def write(self, values: Mapping[str, float]) -> None:
        """Append strings and their log R; when this returns, the system has them.

        Raises:
            OSError: it could not be written, or not all of it, as on a full disk.
        """
        lines = "".join(json.dumps([string, value]) + "\n" for string, value in values.items())
        with self.path.open("ab+", buffering=0) as file:  # each write goes to the end, whole
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the last writer was cut off
                    lines = "\n" + lines
            written, data = 0, lines.encode()
            while written < len(data):  # a disk that fills up takes a part, then raises
                written += file.write(data[written:])


def _reward(line: str) -> tuple[str, float] | None:
    """The string and log R of a line; None if these are not what it holds."""
    try:
        string, value = json.loads(line)
        if isinstance(string, str) and is_finite(value):
            return string, float(value)
    except (ValueError, TypeError, OverflowError):
        pass
    return None
