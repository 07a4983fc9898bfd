"""The logo of the example of words."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from gfn_gym.dag import Floats, States
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.envs.sequence.render import colours


def letter_heights(dag: Sequence, states: States) -> tuple[Floats, float]:
    """Return how high each token stands in a logo of finished states (n, L), and the most it can.

    A token's share at a position times what the position tells: log2 of the number of symbols less
    the entropy, in bits; float64 (L, A). Where words end before the last position, the empty
    position is one symbol more, which is not drawn.
    """
    size = dag.alphabet.size
    shares = np.stack([(states == token).mean(axis=0) for token in range(size + 1)], axis=1)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    most = float(np.log2(size + bool(shares[:, -1].any())))
    told = most + (shares * logs).sum(axis=1)
    return shares[:, :-1] * told[:, None], most


def draw_logo(dag: Sequence, states: States, path: Path, title: str) -> None:
    """Draw a sequence logo of finished states (n, L), see :func:`letter_heights`.

    A logo has room for one letter, so tokens of several letters are drawn as bars.
    """
    heights, most = letter_heights(dag, states)
    width = max(5.0, 0.45 * dag.max_length)
    figure, axis = plt.subplots(figsize=(width, 2.8), layout="constrained")
    _letters(dag, heights, axis)
    axis.set(title=title, xlabel="position", ylabel="bits", ylim=(0, most))
    step = max(1, dag.max_length // 10)
    ticks = list(range(0, dag.max_length, step))
    axis.set_xticks(ticks, [str(tick + 1) for tick in ticks])
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _letters(dag: Sequence, heights: Floats, axis: Axes) -> None:
    tokens = dag.alphabet.tokens
    palette = {
        token: (red / 255, green / 255, blue / 255)
        for token, (red, green, blue) in zip(tokens, colours(tokens), strict=True)
    }
    if all(len(token) == 1 for token in tokens):
        import logomaker
        import pandas

        logomaker.Logo(
            pandas.DataFrame(heights, columns=list(tokens)), ax=axis, color_scheme=palette,
            show_spines=True,
        )  # fmt: skip
        return
    order, places = np.argsort(heights, axis=1), np.arange(len(heights))
    bottom = np.zeros(len(heights))
    for rank in range(len(tokens)):
        chosen = order[:, rank]
        high = heights[places, chosen]
        axis.bar(places, high, 0.9, bottom, color=[palette[tokens[i]] for i in chosen])
        bottom += high
    handles = [Patch(color=palette[token]) for token in tokens]
    axis.legend(handles, tokens, fontsize="small", ncols=2, loc="upper left", bbox_to_anchor=(1, 1))
