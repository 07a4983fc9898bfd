"""Pictures of spins that are being set, in text and in pixels; numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import States

PICTURE = 300  # pixels of a side, about
DOWN, UP, UNSET, NEWEST, NOWHERE = (
    (68, 90, 140), (245, 222, 120), (225, 225, 225), (214, 60, 60), (255, 255, 255),
)  # fmt: skip
CHARACTERS = "-+·"


def newest_spin(trajectory: States) -> int | None:
    """Return the site that the last step of a walk (t, N) set, None if it set none."""
    if len(trajectory) < 2:
        return None
    changed = np.flatnonzero(trajectory[-1] != trajectory[-2])
    return int(changed[0]) if len(changed) else None


def render_ansi(trajectory: States, side: int, energy: float) -> str:
    """Write the last state (N,) in rows of ``side``: + up, - down, · not set, the newest in [ ]."""
    newest, lines = newest_spin(trajectory), []
    cells = [CHARACTERS[spin] for spin in trajectory[-1]]
    shown = [f"[{c}]" if site == newest else f" {c} " for site, c in enumerate(cells)]
    for start in range(0, len(shown), side):
        lines.append("".join(shown[start : start + side]).rstrip())
    return "\n".join([*lines, f"energy {energy:g}"])


def render_rgb(trajectory: States, side: int) -> NDArray[np.uint8]:
    """Draw the last state in rows of ``side``: yellow up, blue down, grey not set.

    The newest spin is framed red. uint8, (height, width, 3).
    """
    cell = max(4, PICTURE // side)
    state, newest = trajectory[-1], newest_spin(trajectory)
    rows = -(-len(state) // side)
    values = np.full(rows * side, 3)
    values[: len(state)] = state
    colours = np.array([DOWN, UP, UNSET, NOWHERE], dtype=np.uint8)[values.reshape(rows, side)]
    image = colours.repeat(cell, axis=0).repeat(cell, axis=1)
    image[::cell], image[:, ::cell] = 255, 255
    if newest is not None:
        row, column = divmod(newest, side)
        part = image[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
        width = max(2, cell // 12)
        part[:width], part[-width:], part[:, :width], part[:, -width:] = (NEWEST,) * 4
    return image
