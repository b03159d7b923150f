"""The record inside an event: read from the left, by the grammar that it is written by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.arrivals.records import record_groups
from qmail_popup.record import compose

anything = st.binary(max_size=300)


def read(line: bytes) -> tuple[bytes, ...] | None:
    """Return the parts of a record, if it is one."""
    groups = record_groups(line)
    return tuple(group.encode("latin-1") for group in groups) if groups else None


@given(anything, anything, anything, st.sampled_from([b"POP3", b"POP3S"]), st.booleans())
def test_every_record_that_is_written_reads_back(
    ip: bytes,
    host: bytes,
    name: bytes,
    protocol: bytes,
    accepted: bool,  # noqa: FBT001  hypothesis gives it so
) -> None:
    """Whatever the client and its name server chose, each field comes back as its own."""
    verdict = b"Accept::AUTH::Apop" if accepted else b"Reject::AUTH::Apop"
    line = compose(pid=77, verdict=verdict, protocol=protocol, ip=ip, host=host, name=name)
    record = read(line.removesuffix(b"\n"))
    assert record
    result, method, spoken, address, client, user = record
    assert (verdict, protocol) == (result + b"::AUTH::" + method, spoken)
    nobody = compose(pid=77, verdict=verdict, protocol=protocol, ip=address, host=client, name=b"")
    assert nobody.removesuffix(b"'\n") + user + b"'\n" == line


@pytest.mark.parametrize(
    ("tail", "ip", "host", "name"),
    [
        (b"S:2001:db8::1:h ?~ 'bob'", b"2001:db8::1", b"h", b"bob"),
        (b"S:::1:unknown ?~ ''", b"::1", b"unknown", b""),
        (b"S::: ?~ 'x'", b":", b"", b"x"),
        (b"S:a:b ?~ 'x' P:POP3S S:1.2.3.4:x ?~ 'y'", b"a", b"b", b"x' P:POP3S S:1.2.3.4:x ?~ 'y"),
        (b"S:a?~':b ?~ 'it's'", b"a?~'", b"b", b"it's"),
        (b"S:a:b ?~ '" + b"n" * 255 + b"...'", b"a", b"b", b"n" * 255 + b"..."),
    ],
)
def test_a_record_is_read_from_the_left(tail: bytes, ip: bytes, host: bytes, name: bytes) -> None:
    """A name may look like the rest of a record, and an IPv6 address has colons."""
    record = read(b"qmail-popup: pid 1 Reject::AUTH::User P:POP3S " + tail)
    assert (b"Reject", b"User", b"POP3S", ip, host, name) == record


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"qmail-popup: pid 1 Accept::STLS::Any P:POP3 S:a:b ?~ 'unknown'",
        b"qmail-popup: pid 1 Reject::STLS::Any P:POP3S S:a:b ?~ 'unknown'",
        b"qmail-popup: pid 1 Reject::STLS::User P:POP3 S:a:b ?~ 'unknown'",
        b"qmail-popup: pid 1 Reject::AUTH::Any P:POP3 S:a:b ?~ 'unknown'",
        b"qmail-popup: pid x Reject::AUTH::User P:POP3 S:a:b ?~ 'bob'",
        b"qmail-smtpd: pid 1 Reject::AUTH::User P:POP3 S:a:b ?~ 'bob'",
        b"qmail-popup: pid 1 Reject::AUTH::User P:POP3 S:ab ?~ 'bob'",
        b"qmail-popup: pid 1 Reject::AUTH::User P:POP3 S:a b:c ?~ 'bob'",
        b"qmail-popup: pid 1 Reject::AUTH::User P:POP3 S:a:b ?~ 'b\x00b'",
        b"qmail-popup: pid 1 Reject::AUTH::User P:POP3 S:a:b ?~ 'b\x7fb'",
        b"qmail-popup: pid 1 Reject::AUTH::User P:POP3 S:a:b ?~ 'bob",
        b"qmail-popup: pid 1 Reject::AUTH::User P:POP3 S:a:b ?~ '" + b"n" * 256 + b"'",
        b"qmail-popup: pid 1 Reject::AUTH::User P:POP3 S:" + b"a" * 256 + b":b ?~ 'bob'",
        b"qmail-popup: pid 1 Reject::AUTH::User P:POP3 S:a:" + b"b" * 256 + b" ?~ 'bob'",
    ],
)
def test_what_no_popup_writes_is_no_record(line: bytes) -> None:
    """Any stands for one refusal only, and each field keeps to its bytes and its length."""
    assert read(line) is None
