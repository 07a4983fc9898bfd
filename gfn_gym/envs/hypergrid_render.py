"""Pictures of a path over a plane of log R, in text and in pixels; numpy only."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import Floats, States

SHADES = " ░▒▓█"
CELL = 20  # pixels of a cell's side
# Dark blue to yellow, even in lightness, so that it reads in grey as well.
PALETTE = np.array(
    [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=np.float64
)
PATH, START, HERE = (255, 255, 255), (120, 220, 255), (230, 50, 50)


def _unit(log_reward: Floats) -> Floats:
    low, high = log_reward.min(), log_reward.max()
    return (log_reward - low) / (high - low) if high > low else np.zeros_like(log_reward)


def render_ansi(log_reward: Floats, path: States) -> str:
    """Draw log R (rows, columns) in shades, the path (t, 2) in dots, its end as @."""
    shades = np.rint(_unit(log_reward) * (len(SHADES) - 1)).astype(int)
    cells = [[SHADES[shade] * 2 for shade in row] for row in shades]
    for row, column in path:
        cells[row][column] = "··"
    row, column = path[-1]
    cells[row][column] = "@@"
    edge = "+" + "-" * (2 * log_reward.shape[1]) + "+"
    return "\n".join([edge, *("|" + "".join(line) + "|" for line in cells), edge])


def render_rgb(log_reward: Floats, path: States) -> NDArray[np.uint8]:
    """Draw the same in pixels, uint8 (rows·20, columns·20, 3)."""
    position = _unit(log_reward) * (len(PALETTE) - 1)
    below = np.minimum(position.astype(int), len(PALETTE) - 2)
    share = (position - below)[..., None]
    colours = (1 - share) * PALETTE[below] + share * PALETTE[below + 1]
    image = colours.repeat(CELL, axis=0).repeat(CELL, axis=1).astype(np.uint8)
    image[::CELL], image[:, ::CELL] = 40, 40  # the grid's lines
    centres = path * CELL + CELL // 2
    for (r0, c0), (r1, c1) in pairwise(centres):
        rows, columns = (
            slice(min(r0, r1) - 1, max(r0, r1) + 2),
            slice(min(c0, c1) - 1, max(c0, c1) + 2),
        )
        image[rows, columns] = PATH
    _dot(image, centres[0], START)
    _dot(image, centres[-1], HERE)
    return image


def _dot(image: NDArray[np.uint8], centre: States, colour: tuple[int, int, int]) -> None:
    row, column = (int(c) for c in centre)
    r = CELL // 3
    rows, columns = np.ogrid[-r : r + 1, -r : r + 1]
    patch = image[row - r : row + r + 1, column - r : column + r + 1]
    patch[rows**2 + columns**2 <= r * r] = colour
