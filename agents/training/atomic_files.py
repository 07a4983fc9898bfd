"""Writing files so that a kill or a full disk cannot spoil what was there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path


@contextmanager
def replaced(path: str | os.PathLike[str], what: str) -> Iterator[BufferedIOBase]:
    """Open a temporary file beside ``path`` that takes its place when the block ends well.

    Raises:
        OSError: it could not be written; a file that was at ``path`` is untouched.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")  # the next write replaces what a kill leaves here
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        kept = "the previous one is untouched" if path.exists() else "there is no earlier one"
        message = f"could not write the {what} ({error.strerror}); {kept}"
        raise OSError(error.errno, message, str(path)) from error


def require_writable(path: str | os.PathLike[str], what: str) -> None:
    """See, before work is lost, that a file can be written at ``path``; makes its folder.

    Raises:
        OSError: it can't be.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        message = f"cannot write {what} ({error.strerror})"
        raise OSError(error.errno, message, str(path)) from error
