"""Pictures of a molecule that grows block by block, in text and in pixels."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rdkit import Chem
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D
from rdkit.Geometry import Point2D

from gfn_gym.dag import States
from gfn_gym.envs.molecule.assemble import Assembler
from gfn_gym.envs.molecule.trees import Trees
from gfn_gym.envs.molecule.vocabulary import Vocabulary

PANEL = (280, 210)  # pixels, width and height
COLUMNS = 4
BOND = 26.0  # pixels of a bond, at most
OPEN = (0.55, 0.80, 0.95)  # the colour of atoms with open stems


def render_ansi(vocabulary: Vocabulary, max_blocks: int, trajectory: States) -> str:
    """Write a trajectory (t, d), a line a step: SMILES, blocks, and how many stems are open."""
    steps, stopped = _steps(trajectory)
    trees = Trees.of(steps, max_blocks)
    lines = []
    smiles = Assembler(vocabulary, max_blocks).smiles(steps)
    for text, blocks, n_open in zip(smiles, trees.block, trees.open.sum(axis=(1, 2)), strict=True):
        names = [vocabulary.smiles[block] for block in blocks if block < vocabulary.n_blocks]
        lines.append(f"{len(names)}  {text}  [{' + '.join(names)}], {n_open} open" if names
                     else "0  no block")  # fmt: skip
    return "\n".join([*lines, "stopped"] if stopped else lines)


def render_rgb(vocabulary: Vocabulary, max_blocks: int, trajectory: States) -> NDArray[np.uint8]:
    """Draw a trajectory (t, d), a panel for each number of blocks, uint8 (height, width, 3).

    The molecule grows in place; atoms with open stems are blue. The picture has room for
    ``max_blocks`` panels from the beginning, so that all frames of a film have one size.
    """
    steps, stopped = _steps(trajectory)
    steps = steps[steps[:, 0] < vocabulary.n_blocks]  # nothing can be drawn of no block
    assembler = Assembler(vocabulary, max_blocks)
    molecules = _in_place(assembler.molecules(steps)) if len(steps) else []
    opened = assembler.open_atoms(steps) if len(steps) else []
    columns = min(COLUMNS, max_blocks)
    width, height = PANEL
    shape = (math.ceil(max_blocks / columns) * height, columns * width, 3)
    picture = np.full(shape, 255, dtype=np.uint8)
    for place, (molecule, atoms) in enumerate(zip(molecules, opened, strict=True)):
        over = stopped and place == len(molecules) - 1
        caption = f"{place + 1} block{'s' * (place > 0)}{', stopped' * over}"
        top, left = place // columns * height, place % columns * width
        picture[top : top + height, left : left + width] = _panel(molecule, atoms, caption)
    return picture


def _steps(trajectory: States) -> tuple[States, bool]:
    """The trajectory without the stop, which changes nothing, and whether there was one."""
    stopped = len(trajectory) > 1 and bool((trajectory[-1] == trajectory[-2]).all())
    return (trajectory[:-1] if stopped else trajectory), stopped


def _in_place(molecules: list[Chem.Mol]) -> list[Chem.Mol]:
    """Lay the last molecule out, and the others as the parts of it that they are."""
    rdDepictor.Compute2DCoords(molecules[-1])
    for before, after in zip(molecules[-2::-1], molecules[:0:-1], strict=True):
        match = after.GetSubstructMatch(before)
        if match:
            positions = after.GetConformer()
            places = {
                own: Point2D(positions.GetAtomPosition(other)) for own, other in enumerate(match)
            }
            rdDepictor.Compute2DCoords(before, coordMap=places)
        else:  # a bond has made a ring aromatic, or no longer
            rdDepictor.Compute2DCoords(before)
    return molecules


def _panel(molecule: Chem.Mol, open_atoms: list[int], caption: str) -> Any:
    drawer = rdMolDraw2D.MolDraw2DCairo(*PANEL)
    options: Any = drawer.drawOptions()
    options.fixedBondLength, options.legendFontSize = BOND, 16
    rdMolDraw2D.PrepareAndDrawMolecule(
        drawer,
        molecule,
        legend=caption,
        highlightAtoms=open_atoms,
        highlightAtomColors=dict.fromkeys(open_atoms, OPEN),
        highlightBonds=[],
    )
    drawer.FinishDrawing()
    return np.asarray(Image.open(io.BytesIO(drawer.GetDrawingText())).convert("RGB"))
