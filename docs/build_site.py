"""Build the site: `make docs`, or `python docs/build_site.py`. Nothing is loaded from the network.

The sources are laid out in docs/_build/source first: the pages of docs/, those that lie elsewhere
in the repository (CONTRIBUTING.md and others), and those that are made: a page per environment
from its docstring, the API reference, pictures. Links that work in the repository are rewritten to
work on the site. Sphinx then builds docs/_build/html with warnings as errors, tutorials executed,
and site_check.py looks at every link of the result.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent.resolve()
ROOT = DOCS.parent
SOURCE, HTML = DOCS / "_build" / "source", DOCS / "_build" / "html"

FROM_ELSEWHERE = {  # where it lies: its page
    "CONTRIBUTING.md": "extending.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "examples/README.md": "examples.md",
}
EXAMPLE = """
## A domain in full

`examples/custom_environment.py`, which the tests run:

```{literalinclude} example.py
:language: python
```
"""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", default="auto", help="processes of Sphinx")
    arguments = parser.parse_args()
    lay_out()
    from sphinx.cmd.build import main as sphinx

    options = ["-b", "html", "-W", "--keep-going", "-q", "-j", arguments.jobs]
    if sphinx([*options, "-c", str(DOCS), "-d", str(DOCS / "_build/doctrees"), *paths()]):
        sys.exit("docs/build_site.py: Sphinx found the errors above")
    from site_check import check

    problems = check(HTML)
    if problems:
        sys.exit("\n".join(["docs/build_site.py: the site has broken links:", *problems]))
    print(f"{HTML / 'index.html'}")


def paths() -> tuple[str, str]:
    return str(SOURCE), str(HTML)


def lay_out() -> None:
    """Write the sources into SOURCE; unchanged files keep their dates, so that Sphinx is quick."""
    import made_pages
    import pictures

    pages = {path.relative_to(DOCS).as_posix(): path for path in own_pages()}
    pages |= {page: ROOT / path for path, page in FROM_ELSEWHERE.items()}
    made = made_pages.environments() | made_pages.api()
    used: dict[str, str | bytes] = {}
    for page, path in pages.items():
        text = path.read_text()
        if page == "index.md":
            text = text.replace("<!-- other pages -->", "\n".join(other_pages(pages, text)))
        if page == "extending.md":
            text += EXAMPLE
        used[page] = with_site_links(text, path, page, used)
    for path in sorted((DOCS / "tutorials").glob("*")):
        if path.suffix in (".py", ".rst"):
            used[f"tutorials/{path.name}"] = path.read_text()
    used["example.py"] = (ROOT / "examples/custom_environment.py").read_text()
    write({**used, **made})
    pictures.draw(SOURCE / "pictures")


def own_pages() -> list[Path]:
    return [path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts]


def other_pages(pages: dict[str, Path], index: str) -> list[str]:
    """The pages of docs/ that no toctree of index.md names: one more needs no edit there."""

    def listed(name: str) -> bool:
        return re.search(rf"^(.* <{name}>|{name})$", index, re.MULTILINE) is not None

    names = (page.removesuffix(".md") for page in pages if "/" not in page)
    return [name for name in names if name != "index" and not listed(name)]


def with_site_links(text: str, path: Path, page: str, used: dict[str, str | bytes]) -> str:
    """Rewrite the links of a page: to other pages, pictures (which join ``used``), and sources."""
    up = "../" * page.count("/")

    def rewritten(match: re.Match[str]) -> str:
        picture, label, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target or target.startswith(("http://", "https://")):
            return match[0]
        where = (path.parent / target).resolve()
        if not where.is_relative_to(ROOT):
            return match[0]
        name = where.relative_to(ROOT).as_posix()
        if name in FROM_ELSEWHERE:
            return f"[{label}]({up}{FROM_ELSEWHERE[name]}{anchor})"
        if where.suffix in (".png", ".gif"):
            if where.exists():
                used[f"files/{name}"] = where.read_bytes()
                return f"{picture}[{label}]({up}files/{name})"
            return match[0]  # made by pictures.py
        if where.is_relative_to(DOCS) and where.suffix == ".md":
            return f"[{label}]({up}{where.relative_to(DOCS).as_posix()}{anchor})"
        if where.parent == DOCS / "tutorials":
            return f"[{label}]({up}learn/{where.stem}.rst)"
        folder = where.parent if where.name == "__init__.py" else where
        if (folder / "__init__.py").exists():
            package = folder.relative_to(ROOT).as_posix().replace("/", "_")
            package = re.sub("^agents", "gfn_gym_agents", package)
            return f"[{label}]({up}api/{package}.md)"
        module = name.removesuffix(".py").replace("/", ".")
        module = re.sub(r"^agents\b", "gfn_gym.agents", module)
        if name.endswith(".py") and module in sys.modules and module.startswith("gfn_gym"):
            html = f"{up}_modules/{module.replace('.', '/')}.html"
            return f'<a href="{html}">{label}</a>'
        return label if "/" in label or "." in label else f"{label} (`{name}`)"

    return LINK.sub(rewritten, text)


def write(files: dict[str, str | bytes]) -> None:
    kept = {SOURCE / name for name in files}
    for path in sorted(SOURCE.rglob("*")) if SOURCE.exists() else []:
        inside = path.relative_to(SOURCE).parts[0]
        if path.is_file() and path not in kept and inside not in ("learn", "pictures"):
            path.unlink()
    for name, content in files.items():
        path = SOURCE / name
        data = content.encode() if isinstance(content, str) else content
        if not path.exists() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MPLBACKEND", "Agg")
    sys.path.insert(0, str(DOCS))
    shutil.rmtree(HTML, ignore_errors=True)
    main()
