"""Convert the manual pages to Markdown, for reading in a browser: deploy/man/NAME.8.md.

Supports the man(7) macros that our pages use, and fails on any other. `make manuals` runs it; a test checks
that the files are up to date.
"""

import argparse
import re
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

PAGES = Path(__file__).with_name("man")

_CHARACTERS = {
    r"\-": "-", r"\(dq": '"', r"\(aq": "'", r"\(ti": "~", r"\~": " ", r"\ ": " ", r"\e": "\\", r"\&": ""
}  # fmt: skip
_ESCAPE = re.compile(r"\\(?:\(..|.)")
_ARGUMENT = re.compile(r'"([^"]*)"|(\S+)')
_FONT = re.compile(r"\\f([BIRP])")
_MARKS = {"B": "**", "I": "*", "R": ""}
_SPECIAL = re.compile(r"[\\*`\[\]<>~|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_PREFORMATTED = {".nf": ".fi", ".EX": ".EE"}
_ITEM = "  "  # the indentation of a list item's contents
_OURS = re.compile(r"\*\*(qmail-popup(?:-sidecar|-listener)?)\*\*\(8\)")


def convert(text: str) -> str:
    """Convert a manual page from man(7) to Markdown."""
    page = _Page()
    lines = iter(text.splitlines())
    for line in lines:
        if line in _PREFORMATTED:
            page.preformatted(_until(lines, _PREFORMATTED[line]))
        elif line == ".TP":
            page.item(_inline(next(lines)))
        else:
            page.line(line)
    return page.text()


class _Page:
    """A page being built. indent: that of the open list item, if any."""

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._words: list[str] = []
        self._indent = ""

    def line(self, line: str) -> None:
        """Add a line that is neither an item's tag nor preformatted."""
        macro, _, rest = line.partition(" ")
        if macro == ".TH":
            self._block("# {}({})".format(*rest.split()))
        elif macro in {".SH", ".PP", ".IP"}:
            self._paragraph(macro, rest)
        elif macro == ".br":
            self._words[-1] += "  "
        else:
            self._words.append(_inline(line))

    def _paragraph(self, macro: str, heading: str) -> None:
        self._flush()
        self._indent = self._indent if macro == ".IP" else ""
        if heading:
            self._block(f"## {heading.strip(chr(34))}")

    def item(self, tag: str) -> None:
        """Begin a list item."""
        self._flush()
        self._indent = ""
        self._block(f"- {tag}")
        self._indent = _ITEM

    def preformatted(self, lines: list[str]) -> None:
        """Add lines unchanged."""
        self._flush()
        shown = [_characters(_FONT.sub("", line)) for line in lines]
        self._block("\n".join(["```", *shown, "```"]))

    def _flush(self) -> None:
        words, self._words = self._words, []
        if words:
            self._block("\n".join(words))

    def _block(self, text: str) -> None:
        self._blocks.append("\n".join(f"{self._indent}{line}" for line in text.splitlines()))

    def text(self) -> str:
        """Return the page."""
        self._flush()
        return "\n\n".join(self._blocks) + "\n"


def _until(lines: Iterator[str], end: str) -> list[str]:
    return list(iter(lambda: next(lines), end))


def _inline(line: str) -> str:
    """Convert a line of text, or a font macro, to Markdown."""
    marked = "".join(_marked(font, text) for font, text in _joined(_segments(line)))
    return _OURS.sub(r"[\1(8)](\1.8.md)", marked)


def _segments(line: str) -> Iterator[tuple[str, str]]:
    """Yield a line's segments, each with its font."""
    fonts, arguments = "R", [line]
    if line.startswith("."):
        macro, *words = (quoted or word for quoted, word in _ARGUMENT.findall(line[1:]))
        if not re.fullmatch("[BIR]{1,2}", macro):
            raise ValueError(f"unsupported macro: .{macro}")
        fonts, arguments = macro, words if len(macro) > 1 else [" ".join(words)]
    for font, argument in zip(cycle(fonts), arguments, strict=False):
        first, *others = _FONT.split(argument)
        yield font, _characters(first)
        for inner, text in zip(others[::2], others[1::2], strict=True):
            yield font if inner == "P" else inner, _characters(text)


def _joined(segments: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Join adjacent segments of the same font."""
    font, whole = "R", ""
    for following, text in segments:
        if following != font:
            yield font, whole
            font, whole = following, ""
        whole += text
    yield font, whole


def _marked(font: str, text: str) -> str:
    """Return text with a font's marks, which may not be next to spaces."""
    inner = text.strip()
    if not inner:
        return text
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    escaped = _SPECIAL.sub(lambda found: f"\\{found[0]}", inner)
    return f"{before}{_MARKS[font]}{escaped}{_MARKS[font]}{after}"


def _characters(text: str) -> str:
    return _ESCAPE.sub(lambda found: _CHARACTERS[found[0]], text)


def main() -> None:
    """Convert all pages."""
    parser = argparse.ArgumentParser(prog="manuals", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=PAGES)
    output = parser.parse_args().output
    for page in sorted(PAGES.glob("*.8")):
        text = convert(page.read_text(encoding="utf-8"))
        (output / f"{page.name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
