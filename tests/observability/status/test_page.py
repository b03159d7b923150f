"""The page: its numbers, and that it shows nothing but numbers and fixed words."""

import base64
import hashlib
import re
from collections.abc import Mapping
from html.parser import HTMLParser

import pytest

from observability.status.markup import Markup, element
from observability.status.page import HEADERS, page
from observability.status.snapshot import Snapshot
from observability.store.families import Series
from tests.support.snapshots import NOW, accepted, refused, snapshot

SUMS: Mapping[int, Mapping[Series, float]] = {
    2: {accepted(): 1200, **refused("credentials", 30)},
    50: {accepted("POP3S"): 40, **refused("temporary", 7, "POP3S"), **refused("session", 2)},
    1300: {accepted("POP3", "Apop"): 5, **refused("tls_required", 3, "POP3", "Any")},
}


class Rows(HTMLParser):
    """The rows of all tables, as the texts of their cells; titles of SVG are no text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._is_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a row, or a cell."""
        self.tags |= {tag, *(name for name, _ in attrs)}
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self._is_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """End a cell."""
        self._is_cell &= tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        """Take the text of a cell."""
        if self._is_cell:
            self.rows[-1][-1] += data


def shown(found: Snapshot) -> str:
    """Return the page as text."""
    return page(found).decode()


def test_logins_are_told_by_protocol_and_method() -> None:
    """Of the last 24 hours, with the share that failed."""
    rows = Rows(shown(snapshot(SUMS))).rows
    for row in (
        ["POP3", "USER", "1,200", "32", "2.6%", ""],
        ["POP3S", "USER", "40", "7", "14.9%", ""],
        ["POP3", "APOP", "5", "0", "0.0%", ""],
        ["POP3S", "APOP", "0", "0", "—", ""],
        ["POP3", "before TLS", "0", "3", "100.0%", ""],
    ):
        assert row in rows


def test_failures_are_told_by_reason() -> None:
    """Of the last five minutes, the last hour and the last 24 hours."""
    rows = Rows(shown(snapshot(SUMS))).rows
    for row in (
        ["wrong name or password", "30", "30", "30"],
        ["client disconnected after login", "0", "2", "2"],
        ["checker: temporary failure", "0", "7", "7"],
        ["login without TLS refused", "0", "0", "3"],
    ):
        assert row in rows


def test_store_spool_push_and_otlp_have_a_line_each() -> None:
    """In one row each, by their states."""
    rows = Rows(shown(snapshot(SUMS, born=NOW - 86400, spool_bytes=2048, pushes=True, spans=False))).rows
    for row in (
        ["Version", "1.2.3"],
        ["Store", "accepts commits · counts since 2026-11-27 00:00 UTC · 0 commits failed"],
        ["Spool", "2 KiB waiting · 0 events lost"],
        ["Push", "on · 0 succeeded, 0 failed"],
        ["OTLP", "off"],
    ):
        assert row in rows


def test_what_is_wrong_stands_on_the_page() -> None:
    """And where nothing is, that does."""
    assert "Nothing is wrong right now." in shown(snapshot(SUMS))
    assert "The store rejects commits" in shown(snapshot(SUMS, takes_commits=False))


def test_a_host_on_which_nothing_ever_came_has_a_page() -> None:
    """Without a minute, an event or a session."""
    found = shown(snapshot({}, minutes=[], last_event=0.0))
    assert "never" in found
    assert "Nothing is wrong right now." in found


def test_nothing_is_run_and_nothing_is_loaded() -> None:
    """The policy allows the page's own style sheet and nothing else; there is no script to stop."""
    policy = dict(HEADERS)["Content-Security-Policy"]
    text = shown(snapshot(SUMS))
    (sheet,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    assert "default-src 'none'; " in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    tags = Rows(text).tags
    assert not {"script", "style=", "src", "img", "iframe", "form", "object"} & tags
    assert "style" not in {name for name in tags if name != "style"}
    assert not [name for name in tags if name.startswith("on")]


def test_series_that_nobody_knows_are_not_shown() -> None:
    """Whatever somebody has written into the store's file."""
    foreign = ("auth_attempts", "accepted", "<script>", "bob@192.0.2.7")
    text = shown(snapshot({}, values={foreign: 1}))
    assert not any(word in text for word in ("<script>", "bob", "192.0.2.7"))


@pytest.mark.parametrize("text", ["<b>", "a & b", '"', "'"])
def test_what_is_no_markup_is_escaped(text: str) -> None:
    """As text and as an attribute."""
    made = element("p", text, Markup("<i>x</i>"), title=text)
    found = Texts(made)
    assert [("p", [("title", text)]), ("i", [])] == found.tags
    assert f"{text}x" == found.text


class Texts(HTMLParser):
    """What a parser finds."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data
