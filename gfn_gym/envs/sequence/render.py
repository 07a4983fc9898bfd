"""Pictures of a word that is being written, in text and in pixels."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import States

BLOCK, PER_LINE = 10, 6  # as sequence databases print them: blocks of ten, sixty a line
CELL = 22  # pixels of a letter's side
WHITE, EMPTY, RULER = (255, 255, 255), (225, 225, 225), (110, 110, 110)

Colour = tuple[int, int, int]

NUCLEOTIDES: dict[str, Colour] = {
    "A": (80, 160, 80), "C": (70, 110, 190), "G": (230, 160, 40), "T": (200, 70, 60),
    "U": (200, 70, 60),
}  # fmt: skip
"""The colours that sequence logos have."""

AMINO_ACIDS: dict[str, Colour] = {
    **dict.fromkeys("GSTYC", (80, 160, 80)),  # polar
    **dict.fromkeys("QN", (150, 90, 170)),  # neutral
    **dict.fromkeys("KRH", (70, 110, 190)),  # basic
    **dict.fromkeys("DE", (200, 70, 60)),  # acidic
    **dict.fromkeys("AVLIPWFM", (90, 90, 90)),  # hydrophobic
}
"""By chemistry, as sequence logos have them."""


def render_ansi(tokens: Sequence[str], length: int, least: int) -> str:
    """Write a word, a token or gap each, in numbered blocks of ten, and how long it is."""
    lines = []
    for start in range(0, len(tokens), BLOCK * PER_LINE):
        line = tokens[start : start + BLOCK * PER_LINE]
        blocks = ["".join(line[i : i + BLOCK]) for i in range(0, len(line), BLOCK)]
        lines.append(f"{start + 1:>6} {' '.join(blocks)}")
    wanted = f"{least} to {len(tokens)}" if least < len(tokens) else f"{least}"
    return "\n".join([*lines, f"{length} of {wanted}"])


def render_rgb(walk: States, tokens: Sequence[str]) -> NDArray[np.uint8]:
    """Draw a walk (t, L) from top to bottom, a coloured letter a position, grey where empty.

    uint8, (height, width, 3). The ruler counts positions in fives.

    Raises:
        ImportError: Pillow is missing.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise ImportError("drawing words needs Pillow: pip install 'gfn-gym[sequences]'") from error
    wide = CELL + 6 * (max(map(len, tokens)) - 1)
    rows, columns = walk.shape
    image = Image.new("RGB", (columns * wide, (rows + 1) * CELL), WHITE)
    draw = ImageDraw.Draw(image)
    for column in range(columns):
        if column == 0 or column % 5 == 4:
            centre = (column * wide + wide // 2, CELL // 2)
            draw.text(centre, str(column + 1), fill=RULER, anchor="mm")
    palette = colours(tokens)
    for row, column in np.ndindex(rows, columns):
        left, top = column * wide, (row + 1) * CELL
        box = (left + 1, top + 1, left + wide - 2, top + CELL - 2)
        number = int(walk[row, column])
        if number == len(tokens):
            draw.rectangle(box, fill=EMPTY)
        else:
            draw.rectangle(box, fill=palette[number])
            centre = (left + wide // 2, top + CELL // 2)
            draw.text(centre, tokens[number], fill=WHITE, anchor="mm")
    return np.array(image)


def colours(tokens: Sequence[str]) -> list[Colour]:
    """Return a colour a token: biologists' own where they have some, else evenly spaced hues."""
    for known in (NUCLEOTIDES, AMINO_ACIDS):
        if set(tokens) <= known.keys():
            return [known[token] for token in tokens]
    hues = [colorsys.hls_to_rgb(i / len(tokens), 0.45, 0.5) for i in range(len(tokens))]
    return [(int(255 * r), int(255 * g), int(255 * b)) for r, g, b in hues]
