"""Writing files so that a kill, a full disk or another process cannot spoil what was there."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: temporary files have names of their own there as well
    fcntl = None  # type: ignore[assignment]

ABANDONED = 60.0  # seconds after which a temporary file that nobody holds was left by a kill


@contextmanager
def replaced(path: str | os.PathLike[str], what: str) -> Iterator[BufferedIOBase]:
    """Open a temporary file beside ``path`` that takes its place when the block ends well.

    Its name is its own, so that two writers of one path don't meet: the last one's file stays.

    Raises:
        OSError: it could not be written; a file that was at ``path`` is untouched.
    """
    path = Path(os.path.realpath(path))  # what a link points at, not the link
    part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                _try_lock(file)
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
    """See, before work is lost, that a file can be written at ``path``.

    Makes its folder, and removes temporary files that killed processes have left beside it.

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
    for part in path.parent.glob(f"{path.name}.*.part"):
        _remove_abandoned(part)


def _remove_abandoned(part: Path) -> None:
    try:
        if time.time() - part.stat().st_mtime < ABANDONED:
            return  # perhaps just opened, and not locked yet
        with part.open("rb") as file:
            if _try_lock(file):
                part.unlink(missing_ok=True)
    except OSError:
        pass  # another process has removed it, or it is another user's


class PathLock:
    """Says that this process, and no other, writes to a path; given up when the process dies.

    Held by an open file beside it, ``<name>.lock``. Within a process the last to take it has it.

    Args:
        path: what is written to.
    """

    _held: dict[Path, PathLock] = {}  # noqa: RUF012 - the locks of this process

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(os.path.realpath(path))
        self._file: IO[Any] | None = None

    def acquire(self, what: str) -> None:
        """Take the lock.

        Raises:
            BlockingIOError: another process has it.
        """
        earlier = self._held.get(self.path)
        if earlier is self:
            return
        if earlier is not None:  # of a training that was interrupted, perhaps
            self._file, earlier._file = earlier._file, None
        else:
            name = self.path.with_name(self.path.name + ".lock")
            file = name.open("a+")
            if not _try_lock(file):
                file.seek(0)
                holder = file.read().strip() or "unknown"
                file.close()
                raise BlockingIOError(
                    11,
                    f"another process ({holder}) is writing {what} there: give each training a "
                    "path of its own",
                    str(self.path),
                )
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            self._file = file
        self._held[self.path] = self

    def release(self) -> None:
        """Give the lock up, if this object still has it."""
        if self._file is None:
            return
        self.path.with_name(self.path.name + ".lock").unlink(missing_ok=True)
        self._file.close()
        self._file = None
        self._held.pop(self.path, None)


def _try_lock(file: Any) -> bool:
    """Lock an open file until it is closed, unless another process has; whether it is locked."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
