"""Writing files so that a kill or a full disk cannot spoil what was there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import cast


@contextmanager
def replaced(path: str | os.PathLike[str], what: str) -> Iterator[BufferedIOBase]:
    """Open a temporary file beside ``path`` that takes its place when the block ends well.

    Raises:
        OSError: it could not be written; a file that was at ``path`` is untouched.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                yield cast(BufferedIOBase, file.file)  # what SB3's save takes
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
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
