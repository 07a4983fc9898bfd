"""The documentation site: how its sources are laid out, and what its check notices.

The site itself is built, tutorials and all, by `make docs`, which `make test` runs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "docs"))

import build_site  # noqa: E402
import made_pages  # noqa: E402
import pictures  # noqa: E402
from site_check import check  # noqa: E402

HEADINGS = ["Description", "Action Space", "Observation Space", "Rewards", "Starting State"]
HEADINGS += ["Episode End", "Arguments", "Version History"]


def problems(folder: Path, body: str) -> list[str]:
    (folder / "other.html").write_text('<h1 id="here">other</h1>')
    (folder / "index.html").write_text(f"<html>{body}</html>")
    return check(folder)


def test_the_check_passes_good_links(tmp_path: Path) -> None:
    links = '<a href="other.html#here"><a href="#top" id="top"><a href="https://example.com">'
    assert problems(tmp_path, links + '<img src="data:image/png;base64,AA==">') == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="missing.html">', "does not exist"),
        ('<img src="missing.png">', "does not exist"),
        ('<a href="other.html#there">', "has no such anchor"),
        ('<a href="../outside.html">', "lies outside the site"),
        ('<script src="https://example.com/x.js"></script>', "is loaded from the network"),
        ('<link href="https://example.com/x.css">', "is loaded from the network"),
        ('<img src="https://example.com/x.png">', "is loaded from the network"),
    ],
)
def test_the_check_notices(body: str, problem: str, tmp_path: Path) -> None:
    (line,) = problems(tmp_path, body)
    assert line.startswith("index.html: ")
    assert line.endswith(problem)


@pytest.mark.parametrize(
    ("link", "rewritten"),
    [
        ("[P_B](concepts.md#edges)", "[P_B](../concepts.md#edges)"),
        (
            "[how](../CONTRIBUTING.md#add-it)",
            "[how](../extending.md#add-it)",
        ),
        (
            "[1](tutorials/plot_1.py)",
            "[1](../learn/plot_1.rst)",
        ),
        ("[all](../gfn_gym/evaluation/)", "[all](../api/gfn_gym_evaluation.md)"),
        ("[p](../agents/presets/)", "[p](../api/gfn_gym_agents_presets.md)"),
        ("[dag.py](../gfn_gym/dag.py)", '<a href="../_modules/gfn_gym/dag.html">dag.py</a>'),
        ("[paper](https://arxiv.org/abs/2310.12934)", "[paper](https://arxiv.org/abs/2310.12934)"),
        ("[pictures.py](pictures.py)", "pictures.py"),
        ("[Makefile](../Makefile)", "Makefile (`Makefile`)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(link: str, rewritten: str) -> None:
    page = ROOT / "docs" / "page.md"
    assert build_site.with_site_links(link, page, "folder/page.md", {}) == rewritten


def test_pictures_of_the_repository_come_along() -> None:
    used: dict[str, str | bytes] = {}
    text = build_site.with_site_links(
        "![grid](docs/walk.png)", ROOT / "README.md", "readme.md", used
    )
    assert text == "![grid](files/docs/walk.png)"
    assert used == {"files/docs/walk.png": (ROOT / "docs" / "walk.png").read_bytes()}


def test_a_page_more_needs_no_edit_of_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {
        "index.md": Path(),
        "molecules.md": Path(),
        "new.md": Path(),
        "algorithms/x.md": Path(),
    }
    assert build_site.other_pages(pages, index) == ["new"]


def test_every_environment_has_a_page_in_gymnasiums_form() -> None:
    pages = made_pages.environments()
    for dag, ids in made_pages.domains().items():
        page = pages[f"environments/{dag.__name__.lower()}.md"]
        assert all(f"`{id}`" in page for id in ids)
        assert re.findall(r"^ *## (.+)$", dag.__doc__ or "", re.MULTILINE) == HEADINGS, dag


def test_the_reference_has_every_module() -> None:
    text = "".join(made_pages.api().values())
    files = [*ROOT.glob("gfn_gym/**/*.py"), *ROOT.glob("agents/**/*.py")]
    names = {path.relative_to(ROOT).as_posix().removesuffix(".py") for path in files}
    modules = {name.removesuffix("/__init__").replace("/", ".") for name in names}
    modules = {re.sub("^agents", "gfn_gym.agents", module) for module in modules}
    assert {*re.findall(r"automodule:: (\S+)", text), *made_pages.MOVED} == modules


def test_every_algorithm_with_runs_has_its_curve(tmp_path: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs" / "algorithms").glob("*.md")}
    assert pages - {"index", "ments"} == set(pictures.CURVES)
    for page, name in pictures.CURVES.items():
        assert list(pictures.RESULTS.glob(f"{name}-[0-9].csv")), page
    pictures.draw_curve("soft_dqn", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_equations_become_mathml() -> None:
    pytest.importorskip("sphinx")
    from docutils import nodes
    from mathml import mathml

    text = mathml(nodes.math("", r"V = \log \sum_a \exp Q"))
    assert text.startswith("<math")
    assert ">∑</mo>" in text
