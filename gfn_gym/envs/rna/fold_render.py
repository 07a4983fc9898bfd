"""Pictures of a secondary structure, in text and in pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfn_gym.envs.sequence.render import NUCLEOTIDES

STEP = 20  # pixels from base to base
MARGIN = 16
OLD, NEW, INK = (70, 110, 190), (214, 60, 60), (60, 60, 60)


def render_ansi(sequence: str, structure: str, energy: float) -> str:
    """Write a sequence, its structure below it in dot-bracket, and the energy in kcal/mol."""
    return f"{sequence}\n{structure}  {energy:.2f} kcal/mol"


def render_rgb(
    sequence: str, pairs: NDArray[np.int64], new: NDArray[np.int64], energy: float
) -> NDArray[np.uint8]:
    """Draw bases on a line and pairs (m, 2) as arcs over it, the new ones (k, 2) red.

    uint8, (height, width, 3), the same height for all structures of a sequence.

    Raises:
        ImportError: Pillow is missing.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise ImportError("drawing structures needs Pillow: pip install 'gfn-gym[rna]'") from error
    width = 2 * MARGIN + STEP * len(sequence)
    line = MARGIN + STEP * len(sequence) // 4 + STEP // 2  # arcs are half as high as wide
    image = Image.new("RGB", (width, line + 3 * STEP), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for colour, arcs in ((OLD, pairs), (NEW, new)):
        for first, second in arcs.tolist():
            left, right = (MARGIN + STEP * base + STEP // 2 for base in (first, second))
            height = (right - left) // 4
            box = (left, line - STEP // 2 - height, right, line - STEP // 2 + height)
            draw.arc(box, 180, 360, fill=colour, width=2)
    for base, letter in enumerate(sequence):
        centre = MARGIN + STEP * base + STEP // 2
        box = (centre - 8, line - 8, centre + 8, line + 8)
        draw.ellipse(box, fill=NUCLEOTIDES[letter])
        draw.text((centre, line), letter, fill=(255, 255, 255), anchor="mm")
        if base == 0 or base % 5 == 4:
            draw.text((centre, line + STEP), str(base + 1), fill=INK, anchor="mm")
    draw.text((MARGIN, line + 2 * STEP), f"{energy:.2f} kcal/mol", fill=INK, anchor="lm")
    return np.array(image)
