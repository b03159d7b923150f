"""An event as spans: identities, times, attributes and status."""

from collections.abc import Mapping

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, StatusCode

from observability.arrivals.parsing import Event, parse
from observability.event import build
from observability.otlp.spans import Spans
from observability.privacy import Privacy
from tests.support.sidecar import RECORD, REJECTED, START, fields

TRACE, SPAN = "0123456789abcdeffedcba9876543210", "00000000000000aa"
RESOURCE, SCOPE = Resource({"service.name": "x"}), InstrumentationScope("y", "1")
PLAIN, DEFAULT = Privacy("plain", "plain", b""), Privacy("hash", "plain", b"k" * 32)
SESSION = {
    "client.address": "192.0.2.7",
    "client.port": 40000,
    "server.address": "192.0.2.1",
    "server.port": 110,
    "network.protocol.name": "pop3",
    "network.transport": "tcp",
    "network.type": "ipv4",
    "process.pid": 77,
    "qmail_popup.auth.result": "accepted",
    "qmail_popup.auth.method": "User",
    "qmail_popup.protocol": "POP3",
    "qmail_popup.ended": "accepted",
    "user.name": "bob",
}


def made(changes: Mapping[str, bytes | None], privacy: Privacy = PLAIN) -> list[ReadableSpan]:
    """Return the spans of a session."""
    told = {"TRACE": TRACE.encode(), "SPAN": SPAN.encode(), **changes}
    what = parse(build(fields(told))[:-2])
    assert isinstance(what, Event)
    return Spans(RESOURCE, SCOPE, privacy).of(what)


def attributes(changes: Mapping[str, bytes | None], privacy: Privacy = PLAIN) -> dict[str, object]:
    """Return those of a session's span."""
    return dict(made(changes, privacy)[0].attributes or {})


def context(span: ReadableSpan) -> tuple[str, str]:
    """Return trace and span, in digits."""
    found = span.get_span_context()
    assert found
    assert found.trace_flags.sampled
    return f"{found.trace_id:032x}", f"{found.span_id:016x}"


def test_the_session() -> None:
    """Its identity is the end of the trace, and it has no parent."""
    session = made({})[0]
    assert ("POP3 session", SpanKind.SERVER, None) == (session.name, session.kind, session.parent)
    assert (TRACE, TRACE[16:]) == context(session)
    assert (START, START + 400_000_000) == (session.start_time, session.end_time)
    annotations = [("greeted", START + 1_000_000), ("credentials", START + 50_000_000)]
    assert annotations == [(event.name, event.timestamp) for event in session.events]
    assert SESSION == session.attributes
    assert (RESOURCE, SCOPE) == (session.resource, session.instrumentation_scope)


def test_the_subprogram() -> None:
    """It hangs below the session, with the identity that it saw itself."""
    session, subprogram = made({})
    assert ("subprogram", SpanKind.INTERNAL) == (subprogram.name, subprogram.kind)
    assert (TRACE, SPAN) == context(subprogram)
    assert session.get_span_context() == subprogram.parent
    assert (START + 51_000_000, START + 350_000_000) == (subprogram.start_time, subprogram.end_time)
    assert {} == subprogram.attributes
    assert (RESOURCE, SCOPE) == (subprogram.resource, subprogram.instrumentation_scope)


def test_a_session_without_a_login() -> None:
    """It tells of no login, and has no subprogram."""
    gone = dict.fromkeys(["RECORD", "T_CREDENTIALS", "T_SPAWNED", "T_EXITED", "STATUS"])
    (session,) = made({**gone, "ENDED": b"quit"})
    told = session.attributes or {}
    assert not {"user.name", "qmail_popup.auth.result", "qmail_popup.auth.method"} & told.keys()
    assert ["greeted"] == [event.name for event in session.events]


def test_tls_is_told_as_conventions_have_it() -> None:
    """Protocol, version and cipher each by itself."""
    told = attributes({"TLS": b"TLSv1.3", "CIPHER": b"TLS_AES_256_GCM_SHA384", "PROTOCOL": b"POP3S"})
    expected = {
        "tls.protocol.name": "tls",
        "tls.protocol.version": "1.3",
        "tls.cipher": "TLS_AES_256_GCM_SHA384",
    }
    assert expected == {name: told[name] for name in expected}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, None),
        (REJECTED, None),
        ({**REJECTED, "REASON": b"credentials"}, None),
        ({**REJECTED, "REASON": b"session", "STATUS": None, "SIGNAL": b"13"}, None),
        ({**REJECTED, "REASON": b"misuse", "STATUS": b"2"}, "misuse"),
        ({**REJECTED, "REASON": b"temporary", "STATUS": b"111"}, "temporary"),
        ({**REJECTED, "REASON": b"crashed", "STATUS": None, "SIGNAL": b"11"}, "crashed"),
        ({"ENDED": b"timeout"}, None),
        ({"ENDED": b"tls_failed"}, None),
    ],
    ids=[
        "accepted",
        "older popup",
        "refused",
        "session",
        "misuse",
        "temporary",
        "crashed",
        "timeout",
        "handshake",
    ],
)
def test_only_what_failed_on_our_side_is_an_error(
    changes: dict[str, bytes | None], error: str | None
) -> None:
    """A refused login is its client's mistake."""
    status = StatusCode.ERROR if error else StatusCode.UNSET
    for span in made(changes):
        assert status is span.status.status_code
        assert error == (span.attributes or {}).get("error.type")


def test_why_a_login_was_refused_is_told() -> None:
    """By the record's own words where it was refused in the clear."""
    assert "session" == attributes({**REJECTED, "REASON": b"session"})["qmail_popup.auth.reason"]
    clear = {"RECORD": RECORD.replace(b"Accept::AUTH::User", b"Reject::STLS::Any"), "ENDED": b"tls_required"}
    assert "tls_required" == attributes(clear)["qmail_popup.auth.reason"]


@pytest.mark.parametrize("word", ["fork", "pipe", "control"])
def test_a_subprogram_that_could_not_be_started_is_an_error(word: str) -> None:
    """There is no span of it; the session says what it was."""
    gone = dict.fromkeys(["RECORD", "T_SPAWNED", "T_EXITED", "STATUS"])
    (session,) = made({**gone, "ENDED": b"error", "ERROR": word.encode()})
    assert StatusCode.ERROR is session.status.status_code
    assert word == (session.attributes or {})["error.type"]


@pytest.mark.parametrize(
    ("privacy", "told"),
    [
        (Privacy("off", "off", b""), {}),
        (PLAIN, {"user.name": "bob", "client.address": "192.0.2.7"}),
        (Privacy("off", "prefix", b""), {"client.address": "192.0.2.0/24"}),
    ],
)
def test_people_are_told_of_as_the_operator_decided(privacy: Privacy, told: dict[str, str]) -> None:
    """Name and address, or less."""
    found = attributes({}, privacy)
    of_people = ("user.name", "user.hash", "client.address")
    assert told == {name: found[name] for name in of_people if name in found}


def test_the_name_is_hashed_by_default() -> None:
    """The same name has the same hash, another name another one, and neither stands anywhere."""
    one, same, other = (
        attributes({"RECORD": RECORD.replace(b"bob", name)}, DEFAULT) for name in (b"bob", b"bob", b"eve")
    )
    assert one["user.hash"] == same["user.hash"] != other["user.hash"]
    assert "bob" not in str(one)


def test_refused_before_tls_is_nobody() -> None:
    """The record's name is the word unknown then, which is no user."""
    record = b"qmail-popup: pid 77 Reject::STLS::Any P:POP3 S:192.0.2.7:unknown ?~ 'unknown'"
    told = attributes({"RECORD": record, "ENDED": b"tls_required"}, PLAIN)
    assert ("rejected", "Any") == (told["qmail_popup.auth.result"], told["qmail_popup.auth.method"])
    assert "user.name" not in told


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"CLIENT_IP": None}, {"client.address", "network.type"}),
        ({"CLIENT_PORT": b"x"}, {"client.port"}),
        ({"CLIENT_PORT": b"9" * 30}, {"client.port"}),
        ({"PID": None}, {"process.pid"}),
        ({"LOCAL_IP": None, "LOCAL_PORT": b""}, {"server.address", "server.port"}),
        ({"TLS": b""}, {"tls.protocol.name", "tls.protocol.version"}),
    ],
)
def test_what_is_not_known_is_left_out(changes: dict[str, bytes | None], absent: set[str]) -> None:
    """No empty value, and no number that the wire has no room for."""
    assert not absent & attributes(changes).keys()


def test_what_is_no_text_is_told_all_the_same() -> None:
    """A cipher is whatever the server said."""
    assert r"\xff!" == attributes({"CIPHER": b"\xff!"})["tls.cipher"]


def test_an_ipv6_client() -> None:
    """Told by its colons."""
    assert "ipv6" == attributes({"CLIENT_IP": b"2001:db8::7"})["network.type"]
