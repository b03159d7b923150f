"""What SCALING.md builds on and what can be had without a measurement: it is still so."""

import re

from observability.event import build
from observability.prometheus.collector import Sources, exposition
from observability.store.database import Committed
from observability.store.families import at_start
from tests.support.descriptors import CHECKOUT
from tests.support.sidecar import RECORD, fields

_PAGE = (CHECKOUT / "deploy/SCALING.md").read_text(encoding="utf-8")


def _told(what: str) -> int:
    """Return the first number of a row of the table."""
    found = re.search(rf"^\| {re.escape(what)} \| (\d+)", _PAGE, re.MULTILINE)
    assert found
    return int(found[1])


def test_a_host_has_as_many_series() -> None:
    """Those of a sidecar that knows its server's limit."""
    page = exposition(Sources(lambda: Committed(at_start(), {}, 0.0), lambda: 0, lambda: 0, 200, "0"))
    assert _told("series on `/metrics`") == len([line for line in page.splitlines() if line[:1] != b"#"])


def test_a_session_weighs_as_much() -> None:
    """Its line of descriptor 5, and its event, as the tests' usual session has them."""
    assert _told("a record on descriptor 5") == len(RECORD + b"\n")
    assert _told("an event") == len(build(fields()))
