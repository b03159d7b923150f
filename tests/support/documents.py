"""The project's pages for people: what they link to, and the commands that they give."""

import re
from pathlib import Path

from tests.support.descriptors import CHECKOUT

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"(?:^(?: {4}.*)?\n)+", re.MULTILINE)


def pages() -> list[Path]:
    """Return every page, from the README down."""
    below = [*(CHECKOUT / "deploy").rglob("*.md"), *(CHECKOUT / "dashboards").rglob("*.md")]
    return [*sorted(CHECKOUT.glob("*.md")), *sorted(below)]


def links(page: Path) -> list[str]:
    """Return where the page's links lead, as they are written."""
    return _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Return the names under which the page's headings are found, as GitHub and its like make them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {_anchor(title) for _level, title in _HEADING.findall(text)}


def commands(page: Path, heading: str) -> list[str]:
    """Return the blocks that are indented by four below a heading of the page, in their order."""
    text = page.read_text(encoding="utf-8")
    (begin,) = [found.end() for found in _HEADING.finditer(text) if found[2] == heading]
    following = _HEADING.search(text, begin)
    section = text[begin : following.start() if following else None]
    return [block.strip("\n") for block in _BLOCK.findall(section) if block.strip()]


def _anchor(title: str) -> str:
    words = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title.lower()))
    return words.replace(" ", "-")
