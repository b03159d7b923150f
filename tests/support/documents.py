"""The project's documentation pages: their links, and the commands in them."""

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
    """Return the targets of the page's links, as written."""
    return _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as GitHub generates them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {_anchor(title) for _level, title in _HEADING.findall(text)}


def commands(page: Path, heading: str) -> list[str]:
    """Return the code blocks (indented by four) below a heading of the page, in order."""
    text = page.read_text(encoding="utf-8")
    (begin,) = [found.end() for found in _HEADING.finditer(text) if found[2] == heading]
    following = _HEADING.search(text, begin)
    section = text[begin : following.start() if following else None]
    return [block.strip("\n") for block in _BLOCK.findall(section) if block.strip()]


def _anchor(title: str) -> str:
    words = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title.lower()))
    return words.replace(" ", "-")
