"""The site's pictures: a construction of each environment, and a curve of each algorithm.

The animations are made when the site is built. The curves are kept in docs/pictures/, so that the
pages show them in the repository too: ``python docs/pictures.py`` draws them anew.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from made_pages import domains

SIZES = {  # small enough to look at; an environment that is not named here is drawn as it is made
    "Hypergrid": {"ndim": 2, "height": 16},
    "BitSequence": {"n": 32, "k": 4},
}
MILLISECONDS = 400  # of a frame; the finished object stays for three
LARGEST = 480  # pixels

RESULTS = Path(__file__).parent.parent / "benchmarks/paper/results/hypergrid"
KEPT = Path(__file__).parent / "pictures"
CURVES = {  # the page's name, and its runs on the 20⁴ grid with the standard reward
    "soft_dqn": "softdqn-standard",
    "munchausen_dqn": "mdqn-standard",
    "soft_actor_critic": "sac-standard",
    "flow_matching": "fm-standard",
    "trajectory_balance": "tb-standard",
    "detailed_balance": "db-standard",
    "sub_trajectory_balance": "subtb-standard",
    "entropic_ppo": "ppo-standard",
}


def draw(folder: Path) -> None:
    """Animate the constructions that are missing in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for dag, ids in domains().items():
        path = folder / f"{dag.__name__.lower()}.gif"
        if not path.exists():
            draw_construction(ids[0], SIZES.get(dag.__name__, {}), path)


def draw_construction(id: str, kwargs: dict[str, Any], path: Path) -> None:
    """Animate a random trajectory, the longest of ten."""
    env: Any = gymnasium.make(id, render_mode="rgb_array", **kwargs)
    films = []
    for seed in range(10):
        _, info = env.reset(seed=seed)
        env.action_space.seed(seed)
        frames, ended = [env.render()], False
        while not ended:
            action = env.action_space.sample(info["action_mask"])
            _, _, ended, _, info = env.step(action)
            frames.append(env.render())
        films.append(frames)
    *frames, finished = max(films, key=len)
    images = [as_image(frame) for frame in (finished, *frames)]  # where it stands still: the object
    times = [3 * MILLISECONDS] + [MILLISECONDS] * len(frames)
    images[0].save(path, save_all=True, append_images=images[1:], duration=times, loop=0)


def as_image(frame: np.ndarray) -> Image.Image:
    image = Image.fromarray(frame)
    scale = LARGEST / max(image.size)
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return image.resize((round(image.width * scale), round(image.height * scale)), how)


def draw_curve(page: str, path: Path) -> None:
    """Draw an algorithm's exact total variation, the others' behind it in grey."""
    figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for other, name in CURVES.items():
        chosen = other == page
        for file in sorted(RESULTS.glob(f"{name}-[0-9].csv")):
            with file.open() as lines:
                rows = list(csv.DictReader(lines))
            x = [float(row["trajectories"]) / 1000 for row in rows]
            y = [float(row["total_variation"]) for row in rows]
            axis.plot(x, y, color="C0" if chosen else "0.82", zorder=2 + chosen, lw=1 + chosen)
    axis.set(yscale="log", xlim=(0, 200), xlabel="thousand trajectories")
    axis.set(
        ylabel="exact total variation", title="20⁴ grid, the paper's settings; each line a seed"
    )
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    with Image.open(path) as image:  # a few colours will do
        small = image.convert("RGB").quantize(32)
    small.save(path, optimize=True)


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for name in CURVES:
        draw_curve(name, KEPT / f"{name}.png")
