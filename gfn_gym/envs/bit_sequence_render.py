"""Pictures of a bit sequence that is being written, in text and in pixels; numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]

CELL = 8  # pixels of a bit's side
LINE = 100  # characters of a line of text, at most
ZERO, ONE, EMPTY, WRONG = (68, 90, 140), (245, 222, 120), (225, 225, 225), (214, 60, 60)


def characters(bits: Bits, filled: Bits) -> NDArray[np.str_]:
    """Write bits of any shape as 0 and 1, · where they are not filled."""
    return np.where(filled, np.where(bits, "1", "0"), "·")


def render_ansi(bits: Bits, filled: Bits, mode: Bits, k: int, caption: str) -> str:
    """Write a state and its nearest mode, bits (n,) each, in words of ``k``.

    Three lines that belong together: the state (· where empty), ^ where it differs, the mode.
    """
    state = characters(bits, filled)
    marks = np.where(filled & (bits != mode), "^", " ")
    rows = [state, marks, np.where(mode, "1", "0")]
    words = [[" ".join("".join(w) for w in block.reshape(-1, k)) for block in _lines(row, k)]
             for row in rows]  # fmt: skip
    blocks = ["\n".join(line.rstrip() for line in block) for block in zip(*words, strict=True)]
    return "\n\n".join([*blocks, caption])


def _lines(row: NDArray[np.str_], k: int) -> list[NDArray[np.str_]]:
    per_line = max(1, LINE // (k + 1)) * k
    return [row[start : start + per_line] for start in range(0, len(row), per_line)]


def render_rgb(bits: Bits, filled: Bits, mode: Bits, k: int) -> NDArray[np.uint8]:
    """Draw a path (t, n) from top to bottom, and under it the mode (n,) nearest to its end.

    Blue is 0, yellow 1, grey empty; bits of the last state that differ from the mode are framed
    red. uint8, (height, width, 3).
    """
    colours = np.where(bits[..., None], ONE, ZERO)
    colours = np.where(filled[..., None], colours, EMPTY)
    path = _cells(colours, k)
    wrong = filled[-1] & (bits[-1] != mode)
    for column in np.flatnonzero(wrong):
        _frame(path[-CELL:, column * CELL : (column + 1) * CELL])
    gap = np.full((CELL // 2, path.shape[1], 3), 255, dtype=np.uint8)
    target = _cells(np.where(mode[None, :, None], ONE, ZERO), k)
    return np.concatenate([path, gap, target])


def _cells(colours: NDArray[np.int64], k: int) -> NDArray[np.uint8]:
    image = colours.astype(np.uint8).repeat(CELL, axis=0).repeat(CELL, axis=1)
    image[::CELL] = 255  # lines between steps, and between words
    image[:, :: k * CELL] = 40
    return image


def _frame(cell: NDArray[np.uint8]) -> None:
    cell[-2:], cell[:, :2], cell[:, -2:], cell[:2] = WRONG, WRONG, WRONG, WRONG
