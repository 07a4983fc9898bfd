"""Processes that call a user's slow function, one object at a time, and may be killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np

from gfn_gym.rewards.pool import Failure, Outcome, StringFunction, Workers, attempt

EXIT_SECONDS = 5.0  # for a process that has closed its connection to end and leave its exit code


class ProcessWorkers(Workers["_Process"]):
    """Processes of this machine.

    A worker that is late is killed with the programs that it has started.

    Args:
        function: what they call, with a list of one string.
        n: how many.
        timeout: seconds for an object, or None; starting a process is not counted.
        objects: what the strings are, for messages.
    """

    def __init__(
        self, function: StringFunction, n: int, timeout: float | None, objects: str = "strings"
    ):
        super().__init__(n)
        self.timeout = timeout
        self._code = cloudpickle.dumps((function, objects))

    def _start(self) -> _Process:
        return _Process(self._code, self.timeout)

    def _with_news(self, timeout: float | None) -> list[_Process]:
        ready = wait([worker.connection for worker in self._workers], timeout)
        return [worker for worker in self._workers if worker.connection in ready]

    def _died_idle(self, worker: _Process) -> bool:
        return not worker.process.is_alive()


class _Process:
    def __init__(self, start: bytes, timeout: float | None):
        context = multiprocessing.get_context("spawn")  # a fork of torch's threads may hang
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, start), daemon=True)
        self.process.start()
        theirs.close()
        self.ready, self.alive = False, True
        self.string: str | None = None
        self.deadline = np.inf
        self._timeout = timeout

    def send(self, string: str) -> None:
        self.string = string
        self.deadline = np.inf if self._timeout is None else time.monotonic() + self._timeout
        with contextlib.suppress(OSError):  # it has died: receive() will tell
            self.connection.send(string)

    def receive(self) -> Outcome | None:
        if not self.connection.poll():
            self.kill()
            return Failure("timeout", f"no answer within {self._timeout} s")
        self.deadline = np.inf
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            # The connection closes before the process has ended: a kill would hide its exit code.
            wait([self.process.sentinel], EXIT_SECONDS)
            self.kill()
            if not self.ready:
                raise RuntimeError(
                    "a process for the reward function could not start, its output says why; a "
                    "script must do its work under if __name__ == '__main__':"
                ) from None
            return Failure("died", f"its process died with exit code {self.process.exitcode}")
        if isinstance(answer, Exception):
            raise answer
        self.ready = True
        return answer

    def kill(self) -> None:
        self.alive = False
        self.deadline = np.inf
        if hasattr(os, "killpg") and self.process.pid is not None:
            with contextlib.suppress(OSError):  # the programs that it has started, too
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection[Any, Any], start: bytes) -> None:
    """What a worker does: it answers None when it has started, then one string after another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    if hasattr(os, "setsid"):
        os.setsid()  # a group of its own, to be killed as one
        threading.Thread(target=_end_with_parent, daemon=True).start()
    function, objects = cloudpickle.loads(start)
    connection.send(None)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent has ended
        while True:
            string = connection.recv()
            try:
                connection.send(attempt(function, [string], objects)[0])
            except ValueError as error:
                connection.send(error)


def _end_with_parent() -> None:
    """Kill this group when the parent has ended: a call that nobody waits for is not finished.

    Else it would go on while another worker repeats it.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(os.getpid(), signal.SIGKILL)
