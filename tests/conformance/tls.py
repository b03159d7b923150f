"""Vectors of STLS over UCSPI-TLS: the offer, the descriptors, the state that comes of it."""

from collections.abc import Iterator

from tests.conformance.phrases import (
    DONE,
    FAILED,
    GIVEN,
    LOGIN,
    NO_STLS,
    OK,
    STARTING,
    SYNTAX,
    TLS_REQUIRED,
    UNAUTHORIZED,
    USER_FIRST,
    capabilities,
    over_tls,
    record,
    told,
)
from tests.conformance.vector import Vector

_OFFERED = {"UCSPITLS": ""}
_REQUIRED = {"UCSPITLS": "!"}
_STAMPED = "+OK {stamp}\r\n"
_PLAIN = capabilities("TOP", "USER", "UIDL")
_SECURE = record(protocol="POP3S")
_HELLO = "\x16\x03\x01\x00\x05\x01\x00\nab"
"""What a client that does not wait sends behind STLS: the beginning of a handshake, with a NUL and an LF."""


def _offers() -> Iterator[Vector]:
    """Yield sessions in which TLS is offered, or is not."""
    for value in ("1", "--", "-x", "!!", "! ", " "):
        yield Vector(
            name=f"UCSPITLS={value!r} offers TLS and does not require it",
            env={"UCSPITLS": value},
            tls=True,
            steps=told("CAPA\r\nUSER bob\r\n"),
            out=OK + capabilities("TOP", "USER", "UIDL", "STLS") + DONE,
        )
    for value in ("", "x", "-1", "+10", " 10", "10 ", "1_0", "0x0a", "10.0", "\u00b9", "70", "9" * 30):
        for name in ("SSLCTLFD", "SSLREADFD", "SSLWRITEFD"):
            yield Vector(
                name=f"STLS is not offered where {name} is {value!r}",
                env=_OFFERED | {name: value},
                tls=True,
                steps=told("CAPA\r\nSTLS\r\n"),
                out=OK + _PLAIN + NO_STLS,
                exit=1,
            )
    yield Vector(
        name="TLS required without the descriptors lets no one in",
        env=_REQUIRED,
        steps=told("CAPA\r\nSTLS\r\nUSER bob\r\nNOOP\r\n"),
        out=OK + capabilities("TOP", "UIDL") + NO_STLS + TLS_REQUIRED,
        log=record("Reject", method="Any", name="unknown"),
        exit=1,
    )


def _required() -> Iterator[Vector]:
    """Yield USER and APOP, refused before anything else about them is looked at; the rest goes on."""
    for line in ("USER\r\n", "user  bob\r\n", "APOP\r\n", "APOP bob\r\n"):
        yield Vector(
            name=f"TLS required: {line!r} is refused for that alone, and ends the session",
            env=_REQUIRED | {"QMAIL_POPUP_RESP_CODES": "1"},
            tls=True,
            steps=[["read", OK], ["send", line + "NOOP\r\n"]],
            out=OK + TLS_REQUIRED,
            log=record("Reject", method="Any", name="unknown"),
            exit=1,
        )
    yield Vector(
        name="TLS required: all else is served",
        env=_REQUIRED,
        tls=True,
        steps=told("PASS x\r\nSTAT\r\nUSER\0\r\n\r\nQUIT\r\n"),
        out=OK + USER_FIRST + UNAUTHORIZED + SYNTAX + UNAUTHORIZED + DONE,
        exit=0,
    )
    for env in ({"TCPLOCALPORT": "995"}, {"SSL_PROTOCOL": "TLSv1.3"}):
        yield Vector(
            name=f"TLS required and on from the start: {env}",
            env=_REQUIRED | env,
            tls=True,
            steps=told("CAPA\r\nSTLS\r\n" + LOGIN),
            out=OK + _PLAIN + NO_STLS + DONE,
            fd3=GIVEN,
            log=_SECURE,
            exit=0,
        )


def _numbers() -> Iterator[Vector]:
    """Yield numbers of the three descriptors, which may be any."""
    choices = (
        (10, 11, 11), (3, 4, 6), (4, 3, 6), (6, 4, 3), (3, 5, 2), (2, 3, 5), (5, 3, 4), (4, 5, 3), (4, 6, 5),
        (2, 5, 5), (9, 3, 3), (57, 58, 59), (12, 11, 10),
    )  # fmt: skip
    for numbers in choices:
        logs = 5 not in numbers
        for do, reply, result in (("exit:0", "", "Accept"), ("exit:1", FAILED, "Reject")):
            yield Vector(
                name=f"descriptors {numbers}, {do}",
                env=_OFFERED,
                tls=True,
                tls_fds=numbers,
                no_fd5=not logs,
                do=do,
                steps=over_tls(["send", LOGIN]),
                out=OK + STARTING + DONE + reply,
                fd3=GIVEN,
                log=record(result, protocol="POP3S") if logs else [],
                exit=int(result == "Reject"),
            )
    for why, env in {
        "TLS is disabled": {"UCSPITLS": "-"},
        "TLS was never spoken of": {},
        "TLS is on": _OFFERED | {"SSL_PROTOCOL": "TLSv1.3"},
    }.items():
        yield Vector(
            name=f"the subprogram gets none of the three where {why}",
            env=env,
            tls=True,
            steps=told(LOGIN),
            out=OK + DONE,
            fd3=GIVEN,
            log=_SECURE if "SSL_PROTOCOL" in env else record(),
            sub_env=dict.fromkeys(("SSLCTLFD", "SSLREADFD", "SSLWRITEFD")),
        )
    for numbers in ((3, 4, 5), (2, 3, 6)):
        yield Vector(
            name=f"descriptors {numbers} without STLS",
            env=_OFFERED,
            tls=True,
            tls_fds=numbers,
            no_fd5=5 in numbers,
            steps=told(LOGIN),
            out=OK + DONE,
            fd3=GIVEN,
            log=[] if 5 in numbers else record(),
        )


VECTORS = [
    *_offers(),
    *_required(),
    *_numbers(),
    Vector(
        name="STLS with an argument that nobody wants",
        env=_OFFERED,
        tls=True,
        steps=[["read", OK], ["send", "sTLs now\r\n"], ["read", STARTING], ["tls"], ["send", "QUIT\r\n"]],
        out=OK + STARTING + DONE,
        exit=0,
    ),
    Vector(
        name="what was sent in clear behind STLS is left for the handshake",
        env=_OFFERED,
        tls=True,
        steps=[
            ["read", OK],
            ["send", "N\nSTLS\n" + _HELLO],
            ["read", UNAUTHORIZED + STARTING],
            ["tls"],
            ["send", "QUIT\n"],
        ],
        behind_stls=_HELLO,
        out=OK + UNAUTHORIZED + STARTING + DONE,
        exit=0,
    ),
    Vector(
        name="what was sent behind PASS over TLS is left for the subprogram",
        env=_OFFERED,
        tls=True,
        steps=over_tls(["send", "\nUSER bob\nPASS\nPASS x\nSTAT\nQUIT\n"], ["eof"]),
        do="stdin",
        out=OK + STARTING + UNAUTHORIZED + DONE + SYNTAX,
        fd3=GIVEN,
        log=_SECURE,
        rest="STAT\nQUIT\n",
    ),
    Vector(
        name="the subprogram speaks over TLS, on descriptor 2 too",
        env=_OFFERED,
        tls=True,
        do="err:-ERR quota",
        steps=over_tls(["send", LOGIN]),
        out=OK + STARTING + DONE + "-ERR quota\r\n" + FAILED,
        fd3=GIVEN,
        log=record("Reject", protocol="POP3S"),
        exit=1,
    ),
    Vector(
        name="the timestamp stays what it was over STLS",
        env=_REQUIRED | {"POP3AUTH": "apop"},
        tls=True,
        steps=[
            ["read", _STAMPED],
            ["send", "STLS\r\n"],
            ["read", STARTING],
            ["tls"],
            ["send", "CAPA\r\nAPOP bob d\r\n"],
        ],
        out=_STAMPED + STARTING + capabilities("TOP", "USER", "UIDL", "APOP"),
        fd3="bob\0d\0{stamp}\0",
        log=record(method="Apop", protocol="POP3S"),
        exit=0,
    ),
    Vector(
        name="each reply is one write over TLS too",
        env=_OFFERED,
        tls=True,
        packets=True,
        do="exit:1",
        steps=over_tls(["send", "CAPA\r\nPASS x\r\n" + LOGIN]),
        out=OK + STARTING + _PLAIN + USER_FIRST + DONE + FAILED,
        fd3=GIVEN,
        log=record("Reject", protocol="POP3S"),
        exit=1,
    ),
    Vector(
        name="a timeout over TLS is without a word",
        env=_OFFERED | {"QMAIL_POPUP_TIMEOUT": "2"},
        tls=True,
        steps=over_tls(start="tls-silent"),
        out=OK + STARTING,
        exit=1,
    ),
]
