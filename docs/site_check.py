"""Check a built site: links, anchors and pictures within it exist, and nothing else is loaded."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("source", "src")}


class Page(HTMLParser):
    """The anchors of a page and what it refers to, as (tag, attribute, target)."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name in ("href", "src") and value is not None:
                self.links.append((tag, name, value))


def check(site: Path) -> list[str]:
    """Return a line for each problem of the HTML pages under ``site``."""
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    problems = []
    for path, page in pages.items():
        for tag, attribute, target in page.links:
            if problem := _problem(path, (tag, attribute), target, pages, site):
                problems.append(f"{path.relative_to(site)}: {target}: {problem}")
    return problems


def _problem(
    path: Path, where: tuple[str, str], target: str, pages: dict[Path, Page], site: Path
) -> str | None:
    url = urlsplit(target)
    if url.scheme or url.netloc:
        loads = where in LOADED and url.scheme != "data"
        return "is loaded from the network" if loads else None
    file = (path.parent / unquote(url.path)).resolve() if url.path else path
    if not file.is_relative_to(site.resolve()) and file != path:
        return "lies outside the site"
    if file.is_dir():
        file /= "index.html"
    if not file.exists():
        return "does not exist"
    if url.fragment and file in pages and unquote(url.fragment) not in pages[file].anchors:
        return "has no such anchor"
    return None
