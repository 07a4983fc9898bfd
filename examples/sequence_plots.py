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


def draw_logo(dag: Sequence, states: States, path: Path, title: str) -> None:
    """Draw a sequence logo of finished states (n, L): letters as high as they tell, in bits.

    Positions after a word's end count as a letter that is not drawn. Tokens of several letters
    are drawn as bars of the logo's colours, since a logo has room for one letter.
    """
    size = dag.alphabet.size
    shares = np.stack([(states == token).mean(axis=0) for token in range(size + 1)], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(shares > 0, shares * np.log2(shares), 0.0).sum(axis=1)
    symbols = size + (shares[:, -1] > 0).any()
    heights = shares[:, :-1] * np.maximum(np.log2(symbols) - entropy, 0.0)[:, None]
    width = max(5.0, 0.45 * dag.max_length)
    figure, axis = plt.subplots(figsize=(width, 2.8), layout="constrained")
    _letters(dag, heights, axis)
    axis.set(title=title, xlabel="position", ylabel="bits", ylim=(0, np.log2(symbols)))
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
