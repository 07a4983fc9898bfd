"""Rewards of strings that fail as users' do; worker processes import this, so it is light."""

import os
import subprocess
import sys
import time


def reward_of(smiles):
    """log R where nothing goes wrong."""
    return -0.1 * len(smiles)


def failing(smiles):
    """Raises at nitrogen, hangs at sulphur, dies at phosphorus, gives NaN at iodine."""
    values = []
    for name in smiles:
        if "N" in name:
            raise RuntimeError(f"no pose for {name}")
        if "S" in name:
            time.sleep(60)
        if "P" in name:
            os._exit(3)
        values.append(float("nan") if "I" in name else reward_of(name))
    return values


def leaving(smiles):
    """Calls sys.exit at phosphorus."""
    if any("P" in name for name in smiles):
        sys.exit(3)
    return [reward_of(name) for name in smiles]


def sleepy(smiles):
    """Takes long enough for other threads to come in between."""
    time.sleep(0.02 * len(smiles))
    return [reward_of(name) for name in smiles]


class Docking:
    """Starts a program that never ends, and writes its process id down."""

    def __init__(self, path):
        self.path = path

    def __call__(self, smiles):
        program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        with open(self.path, "w") as file:
            file.write(str(program.pid))
        program.wait()
        return [0.0] * len(smiles)


class Counting:
    """Remembers what it was asked, and raises at what lies in ``bad``."""

    def __init__(self, bad=()):
        self.bad, self.asked = set(bad), []

    def __call__(self, smiles):
        self.asked.append(list(smiles))
        for name in smiles:
            if name in self.bad:
                raise RuntimeError("the service is down")
        return [reward_of(name) for name in smiles]


class DownAfter:
    """A service that breaks down after some molecules; a new one of these works again."""

    def __init__(self, n):
        self.n = n

    def __call__(self, smiles):
        self.n -= len(smiles)
        if self.n < 0:
            raise ConnectionError("connection refused")
        return [reward_of(name) for name in smiles]


class WritesDown:
    """Takes ``seconds`` a string, and writes when each call began and ended, and by whom."""

    def __init__(self, folder, seconds=0.0):
        self.folder, self.seconds = str(folder), seconds

    def __call__(self, smiles):
        for name in smiles:
            self.note("begun", name)
            time.sleep(self.seconds)
            self.note("ended", name)
        return [reward_of(name) for name in smiles]

    def note(self, what, name):
        with open(os.path.join(self.folder, what), "a") as file:  # atomic: one short line
            file.write(f"{name} {time.time()} {os.getpid()}\n")

    @staticmethod
    def read(folder):
        """When the calls of each string began, and when they ended."""
        times = ({}, {})
        for found, what in zip(times, ("begun", "ended"), strict=True):
            with open(os.path.join(str(folder), what)) as file:
                for line in file:
                    name, at, _ = line.split()
                    found.setdefault(name, []).append(float(at))
        return times
