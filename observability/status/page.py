"""The page at `/`: a snapshot as HTML, in bytes.

Pure. Contains only fixed words and numbers, no script, and one inline style sheet. Reloads every minute.
"""

from collections.abc import Iterator, Sequence

from observability.status import facts, wrong
from observability.status.chart import Part, bars, chart, spark
from observability.status.markup import Markup, element, joined
from observability.status.parts import ACCEPTED, FAILED, METHOD_WORDS, METHODS, OPEN, attempts
from observability.status.snapshot import DAY_MINUTES, HOUR_MINUTES, NOW_MINUTES, Logins, Snapshot, total
from observability.status.style import SHEET, source
from observability.status.words import NOT_KNOWN, amount, moment, share, span
from observability.store import families

_NOTHING_ELSE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", f"{_NOTHING_ELSE}; style-src {source()}"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
]
LINKS = ("/metrics", "/history", "/-/healthy", "/-/ready")

_QUARTER, _HALF = 15, 30  # minutes per bar
_HEAD = Markup(
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta http-equiv="refresh" content="60"><title>qmail-popup</title>'
    f"<style>{SHEET}</style></head>\n"
)


def page(snapshot: Snapshot) -> bytes:
    """Return the page."""
    body = element("body", _header(snapshot), element("main", *_sections(snapshot)), _footer())
    return joined(_HEAD, body, Markup("</html>\n")).encode()


def _sections(snapshot: Snapshot) -> Iterator[Markup]:
    yield _state(wrong.find(snapshot))
    yield element("div", *_tiles(snapshot), class_="row tiles")
    yield element("div", *_charts(snapshot), class_="row three")
    yield element("div", _by_method(snapshot), _by_reason(snapshot), class_="row two")
    yield element("div", _facts(snapshot), class_="row")


def _header(snapshot: Snapshot) -> Markup:
    title = element("h1", "POP3 logins")
    when = f"qmail-popup {snapshot.version} · {moment(snapshot.now)}"
    return element("header", title, element("span", when, class_="soft"))


def _footer() -> Markup:
    times = element("p", "All times are UTC. Shaded: no sidecar was running.")
    return element("footer", times, *(element("a", path, href=path) for path in LINKS), class_="soft")


def _state(found: Sequence[wrong.Wrong]) -> Markup:
    if not found:
        well = element("li", element("b", "OK"), "Nothing is wrong right now.", class_="ok")
        return element("ul", well, class_="state")
    items = (
        element("li", element("b", each.level), element("span", each.text), class_=each.level)
        for each in found
    )
    return element("ul", *items, class_=f"state {found[0].level}")


def _tiles(snapshot: Snapshot) -> Iterator[Markup]:
    logins = Logins.of(snapshot.added(NOW_MINUTES))
    minutes = f"last {NOW_MINUTES} minutes"
    yield _tile("Accepted", amount(logins.accepted), minutes)
    failed = f"{minutes} · {share(logins.failed, logins.total)}" if logins.failed else minutes
    yield _tile("Failed", amount(logins.failed), failed)
    yield _tile(
        "Sessions open", _known(snapshot.active), f"of {_known(snapshot.limit)}" if snapshot.limit else "now"
    )
    age = snapshot.age_seconds
    yield _tile("Last event", "never" if age is None else span(age), "" if age is None else "ago")


def _known(number: int | None) -> str:
    return NOT_KNOWN if number is None else amount(number)


def _tile(name: str, number: str, below: str) -> Markup:
    lines = (
        element("p", name, class_="soft"),
        element("p", number, class_="n"),
        element("p", below, class_="soft"),
    )
    return element("div", *lines, class_="card tile")


def _charts(snapshot: Snapshot) -> Iterator[Markup]:
    logins = Logins.of(snapshot.added(DAY_MINUTES))
    peaks = [minute.peak for minute in snapshot.minutes[-DAY_MINUTES:] if minute.peak is not None]
    yield _chart(snapshot, "Accepted logins", ACCEPTED, amount(logins.accepted))
    yield _chart(snapshot, "Failed logins", FAILED, amount(logins.failed))
    yield _chart(snapshot, "Peak open sessions", OPEN, _known(max(peaks, default=None)))


def _chart(snapshot: Snapshot, title: str, parts: Sequence[Part], number: str) -> Markup:
    shown = bars(snapshot.minutes, snapshot.now, parts, _QUARTER, max if parts is OPEN else sum)
    head = (
        element("h2", title),
        element("span", element("span", number, class_="n"), " in 24 hours", class_="soft"),
    )
    drawn = chart(f"{title}, by quarter-hour, last 24 hours (UTC)", shown, parts)
    return element("section", element("div", *head, class_="head"), drawn, class_="card")


def _by_method(snapshot: Snapshot) -> Markup:
    day = snapshot.added(DAY_MINUTES)
    heads = [
        ("Protocol", ""),
        ("Method", ""),
        ("Accepted", "n"),
        ("Failed", "n"),
        ("Share", "n"),
        ("", "wide"),
    ]
    rows = []
    for protocol, method in METHODS:
        logins = Logins.of(day, method, protocol)
        parts = (attempts("accepted", protocol, method), attempts("rejected", protocol, method))
        shown = bars(snapshot.minutes, snapshot.now, parts, _HALF)
        drawn = spark(f"{protocol} {method}, by half-hour, last 24 hours (UTC)", shown, parts)
        numbers = (*map(_number, logins), element("td", share(logins.failed, logins.total), class_="n"))
        last = element("td", drawn, class_="wide")
        rows.append(
            element("tr", element("th", protocol), element("td", METHOD_WORDS[method]), *numbers, last)
        )
    return _table("By protocol and method, last 24 hours", heads, rows)


def _by_reason(snapshot: Snapshot) -> Markup:
    times = [snapshot.added(minutes) for minutes in (NOW_MINUTES, HOUR_MINUTES, DAY_MINUTES)]
    heads = [("Reason", ""), (f"{NOW_MINUTES} min", "n"), ("1 h", "n"), ("24 h", "n")]
    rows = []
    for reason, words in facts.REASONS.items():
        kind = reason if reason in {part.kind for part in FAILED} else "others"
        name = element("th", element("span", class_=f"key {kind}"), words)
        numbers = (_number(total(sums, families.FAILURES.name, reason)) for sums in times)
        rows.append(element("tr", name, *numbers))
    return _table("Failed logins by reason", heads, rows)


def _number(number: int) -> Markup:
    return element("td", amount(number), class_="n" if number else "n zero")


def _table(caption: str, heads: Sequence[tuple[str, str]], rows: Sequence[Markup]) -> Markup:
    head = element("thead", element("tr", *(element("th", name, class_=kind) for name, kind in heads)))
    made = element("table", element("caption", caption), head, element("tbody", *rows))
    return element("section", made, class_="card")


def _facts(snapshot: Snapshot) -> Markup:
    rows = (element("tr", element("th", name), element("td", text)) for name, text in facts.lines(snapshot))
    return element("section", element("table", element("tbody", *rows)), class_="card facts")
