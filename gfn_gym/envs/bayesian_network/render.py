"""Pictures of a graph that is being built, in text and in pixels; numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfn_gym.envs.bayesian_network.bits import Adjacency

SIDE = 420  # pixels of the picture
RADIUS = 19  # of a node's disc
HEAD = 13  # pixels of an arrowhead
WHITE, NODE, TEXT = (255, 255, 255), (68, 90, 140), (255, 255, 255)
EDGE, NEWEST, REQUIRED = (90, 90, 90), (214, 60, 60), (33, 145, 140)
# Digits in 3 × 5 dots, a row an octal digit.
DIGITS = (
    "75557", "26227", "71747", "71717", "55711", "74717", "74757", "71111", "75757", "75717",
)  # fmt: skip


def newest_edge(graphs: Adjacency) -> tuple[int, int] | None:
    """Return the edge that the last step of a walk (t, d, d) added, None if it added none."""
    if len(graphs) < 2:
        return None
    added = np.argwhere(graphs[-1] & ~graphs[-2])
    return (int(added[0, 0]), int(added[0, 1])) if len(added) else None


def render_ansi(graphs: Adjacency, names: tuple[str, ...], log_reward: float) -> str:
    """Write every node of the last graph with its parents, + before the newest one."""
    newest = newest_edge(graphs)
    width = max(map(len, names))
    lines = []
    for j, name in enumerate(names):
        parents = [
            ("+" if newest == (i, j) else "") + names[i]
            for i in np.flatnonzero(graphs[-1, :, j]).tolist()
        ]
        lines.append(f"{name:>{width}} <- {', '.join(parents)}" if parents else f"{name:>{width}}")
    count = int(graphs[-1].sum())
    lines.append(f"{count} edge{'' if count == 1 else 's'}, log R = {log_reward:.3f}")
    return "\n".join(lines)


def render_rgb(graphs: Adjacency, required: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw the last graph on a circle, nodes by number; uint8 (420, 420, 3).

    Grey arrows are edges, the red one is the newest, green ones are required.
    """
    d = graphs.shape[1]
    image = np.full((SIDE, SIDE, 3), WHITE, dtype=np.uint8)
    angles = 2 * np.pi * np.arange(d) / d - np.pi / 2
    reach = SIDE / 2 - RADIUS - 8
    radius = min(RADIUS, reach * np.pi / d * 0.8)
    places = SIDE / 2 + reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    newest = newest_edge(graphs)
    for i, j in np.argwhere(graphs[-1]).tolist():
        colour = NEWEST if newest == (i, j) else REQUIRED if required[i, j] else EDGE
        _arrow(image, places[i], places[j], radius, colour)
    for node, place in enumerate(places):
        _disc(image, place, radius)
        _number(image, place, node, 3 if radius > 14 else 2 if radius > 9 else 1)
    return image


def _grid(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[slice, slice]:
    """The pixels of a box, as slices of rows and columns."""
    (x0, y0), (x1, y1) = np.floor(low).astype(int), np.ceil(high).astype(int)
    return slice(max(y0, 0), y1 + 1), slice(max(x0, 0), x1 + 1)


def _blend(
    image: NDArray[np.uint8],
    box: tuple[slice, slice],
    cover: NDArray[np.float64],
    colour: tuple[int, int, int],
) -> None:
    """Paint a box by how much of every pixel is covered, which smooths the rims."""
    share = cover.clip(0, 1)[..., None]
    image[box] = ((1 - share) * image[box] + share * np.array(colour)).astype(np.uint8)


def _arrow(
    image: NDArray[np.uint8],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius: float,
    colour: tuple[int, int, int],
) -> None:
    """A line between the rims of two discs, with a head at its end."""
    along = (end - start) / np.linalg.norm(end - start)
    tip, foot = end - along * (radius + 2), start + along * radius
    box = _grid(np.minimum(tip, foot) - HEAD, np.maximum(tip, foot) + HEAD)
    ys, xs = np.mgrid[box]
    ys, xs = ys[: image.shape[0] - box[0].start], xs[:, : image.shape[1] - box[1].start]
    forward = (xs - foot[0]) * along[0] + (ys - foot[1]) * along[1]
    aside = np.abs((ys - foot[1]) * along[0] - (xs - foot[0]) * along[1])
    length = float(np.linalg.norm(tip - foot))
    line = np.minimum(1.5 - aside, np.minimum(forward, length - HEAD / 2 - forward))
    head = np.minimum((length - forward) * 0.42 - aside + 0.5, forward - length + HEAD)
    _blend(image, box, np.maximum(line, head), colour)


def _disc(image: NDArray[np.uint8], place: NDArray[np.float64], radius: float) -> None:
    box = _grid(place - radius - 1, place + radius + 1)
    ys, xs = np.mgrid[box]
    _blend(image, box, radius + 0.5 - np.hypot(xs - place[0], ys - place[1]), NODE)


def _number(image: NDArray[np.uint8], place: NDArray[np.float64], number: int, dot: int) -> None:
    digits = str(number)
    x = int(place[0] - dot * (4 * len(digits) - 1) / 2) + 1
    y = int(place[1] - dot * 5 / 2) + 1
    for digit in digits:
        for row, bits in enumerate(DIGITS[int(digit)]):
            for column in range(3):
                if int(bits) >> (2 - column) & 1:
                    top, left = y + row * dot, x + column * dot
                    image[top : top + dot, left : left + dot] = TEXT
        x += 4 * dot
