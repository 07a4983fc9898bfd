"""Take pictures of the built site in a real browser, to look at: `python docs/screenshots.py`.

Needs Chromium (Debian's package chromium, for one). They are written to
docs/_build/screenshots/, each page at the width of a desk and of a telephone.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HTML = Path(__file__).parent / "_build" / "html"
OUT = HTML.parent / "screenshots"
SIZES = {"wide": (1280, 1600), "narrow": (500, 1600)}  # narrower, Chromium's window is not
PAGES = {
    "index": "index.html",
    "environment": "environments/hypergrid.html",
    "environments": "environments/index.html",
    "molecule": "environments/molecule.html",
    "algorithm": "algorithms/munchausen_dqn.html",
    "subtb": "algorithms/sub_trajectory_balance.html",
    "algorithms": "algorithms.html",
    "concepts": "concepts.html",
    "tutorials": "learn/index.html",
    "tutorial": "learn/plot_1_decision_process.html",
    "extending": "extending.html",
    "comparison": "comparison.html",
    "api": "api/gfn_gym_evaluation.html",
    "potentials": "learn/plot_2_losses_are_agents.html",
    "reliability": "reliability.html",
    "libraries": "libraries.html",
    "search": "search.html?q=detailed+balance",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pages", nargs="*", help=f"of {', '.join(PAGES)}; all by default")
    names = parser.parse_args().pages or list(PAGES)
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.exit("docs/screenshots.py needs Chromium, and finds none")
    if not HTML.exists():
        sys.exit("docs/screenshots.py: run `make docs` first")
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names:
        path, _, query = PAGES[name].partition("?")
        url = (HTML / path).resolve().as_uri() + (f"?{query}" if query else "")
        for size, (width, height) in SIZES.items():
            file = OUT / f"{name}-{size}.png"
            options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"]
            options += ["--virtual-time-budget=8000", f"--window-size={width},{height}"]
            command = [browser, *options, f"--screenshot={file}", url]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            print(file)


if __name__ == "__main__":
    main()
