"""The AUTHORIZATION state, in process: lines in, replies and actions out."""

import pytest

from qmail_popup import protocol
from qmail_popup.protocol import GO_ON, LOGIN, MAX_LINE, QUIT, REFUSE_CLEAR, START_TLS
from tests.support.authorization import STAMP, Said, authorization, told

OK = b"+OK \r\n"
STARTING = b"+OK starting TLS negotiation\r\n"
SYNTAX = b"-ERR syntax error\r\n"
UNAUTHORIZED = b"-ERR authorization first\r\n"
USER_FIRST = b"-ERR USER first\r\n"
NO_APOP = b"-ERR APOP not available\r\n"
NO_STLS = b"-ERR STLS not available\r\n"
TOO_LONG = b"-ERR line too long\r\n"
TLS_REQUIRED = b"-ERR TLS required but not negotiated\r\n"


@pytest.mark.parametrize(
    ("line", "reply", "action"),
    [
        (b"NOOP", OK, GO_ON),
        (b"noop\r", OK, GO_ON),
        (b"NOOP  whatever ", OK, GO_ON),
        (b"NOOP\r\r", UNAUTHORIZED, GO_ON),
        (b" NOOP", UNAUTHORIZED, GO_ON),
        (b"NOOPS", UNAUTHORIZED, GO_ON),
        (b"NOO P", UNAUTHORIZED, GO_ON),
        (b"NOOP\tx", UNAUTHORIZED, GO_ON),
        (b"NOOP\x0c", UNAUTHORIZED, GO_ON),
        (b"USER" + b" " * 999, SYNTAX, GO_ON),
        (b"qUiT", OK, QUIT),
        (b"QUIT now", OK, QUIT),
        (b"", UNAUTHORIZED, GO_ON),
        (b"\r", UNAUTHORIZED, GO_ON),
        (b" ", UNAUTHORIZED, GO_ON),
        (b"STAT", UNAUTHORIZED, GO_ON),
        (b"AUTH PLAIN", UNAUTHORIZED, GO_ON),
        (b"USER bob", OK, GO_ON),
        (b"USER", SYNTAX, GO_ON),
        (b"USER\r", SYNTAX, GO_ON),
        (b"USER   \r", SYNTAX, GO_ON),
        (b"PASS", USER_FIRST, GO_ON),
        (b"PASS x", USER_FIRST, GO_ON),
        (b"APOP", NO_APOP, GO_ON),
        (b"APOP bob digest", NO_APOP, GO_ON),
        (b"STLS", NO_STLS, GO_ON),
        (b"\0", SYNTAX, GO_ON),
        (b"QUIT\0", SYNTAX, GO_ON),
        (b"NOOP " + b"n" * (MAX_LINE - 5), OK, GO_ON),
        (b"NOOP " + b"n" * (MAX_LINE - 6) + b"\r", OK, GO_ON),
        (b"NOOP " + b"n" * (MAX_LINE - 6) + b"\0", SYNTAX, GO_ON),
        (b"NOOP " + b"n" * (MAX_LINE - 5) + b"\r", TOO_LONG, GO_ON),
        (b"\0" * (MAX_LINE + 1), TOO_LONG, GO_ON),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else value,
)
def test_a_first_line(line: bytes, reply: bytes, action: str) -> None:
    """With nothing switched on and no user named, each line has its reply and action."""
    assert (reply, action) == authorization().command(bytearray(line))


@pytest.mark.parametrize(
    ("switches", "transcript"),
    [
        (
            (),
            [
                (b"USER bob", OK, GO_ON),
                (b"PASS", SYNTAX, GO_ON),
                (b"PASS  \r", SYNTAX, GO_ON),
                (b"PASS x", b"", LOGIN),
            ],
        ),
        (("apop",), [(b"APOP", SYNTAX, GO_ON), (b"APOP b", SYNTAX, GO_ON), (b"APOP b \r", SYNTAX, GO_ON)]),
        (("apop",), [(b"APOP b d\r", b"", LOGIN)]),
        (("stls",), [(b"USER", SYNTAX, GO_ON), (b"stls\r", STARTING, START_TLS)]),
        (("stls", "tls"), [(b"STLS", NO_STLS, GO_ON), (b"USER b", OK, GO_ON)]),
        (("stls", "tls_required"), [(b"STLS", STARTING, START_TLS)]),
        (("tls_required",), [(b"USER b", TLS_REQUIRED, REFUSE_CLEAR)]),
        (("tls_required",), [(b"USER", TLS_REQUIRED, REFUSE_CLEAR)]),
        (("tls_required",), [(b"APOP", TLS_REQUIRED, REFUSE_CLEAR)]),
        (
            ("tls_required",),
            [(b"PASS x", USER_FIRST, GO_ON), (b"USER\0", SYNTAX, GO_ON), (b"STLS", NO_STLS, GO_ON)],
        ),
        (("tls_required", "tls"), [(b"USER b", OK, GO_ON), (b"PASS x", b"", LOGIN)]),
        (("tls_required", "tls", "apop"), [(b"APOP b d", b"", LOGIN)]),
    ],
)
def test_a_transcript(switches: tuple[str, ...], transcript: Said) -> None:
    """Each command is checked in the order of the rules."""
    assert transcript == told(authorization(*switches), *(line for line, _, _ in transcript))


@pytest.mark.parametrize(
    ("switches", "listed"),
    [
        ((), b"TOP USER UIDL"),
        (("apop",), b"TOP USER UIDL APOP"),
        (("stls",), b"TOP USER UIDL STLS"),
        (("stls", "apop", "resp_codes"), b"TOP USER UIDL APOP STLS RESP-CODES AUTH-RESP-CODE"),
        (("stls", "apop", "tls"), b"TOP USER UIDL APOP"),
        (("stls", "apop", "tls_required"), b"TOP UIDL STLS"),
        (("stls", "apop", "tls_required", "tls"), b"TOP USER UIDL APOP"),
        (("tls_required",), b"TOP UIDL"),
    ],
)
def test_capabilities(switches: tuple[str, ...], listed: bytes) -> None:
    """CAPA lists each capability where it holds, in the order of the rules."""
    reply = (
        b"+OK capability list follows\r\n" + b"".join(b"%s\r\n" % name for name in listed.split()) + b".\r\n"
    )
    assert (reply, GO_ON) == authorization(*switches).command(bytearray(b"CAPA"))


def test_the_limit_of_a_line() -> None:
    """The tests here go by the name, and this is what it stands for."""
    assert 4096 == MAX_LINE


def test_the_greeting() -> None:
    """Only where APOP is enabled does the greeting hold the timestamp."""
    assert b"+OK\r\n" == authorization().greeting()
    assert b"+OK %s\r\n" % STAMP == authorization("apop").greeting()


@pytest.mark.parametrize(
    ("lines", "method", "name", "secret"),
    [
        ((b"USER bob", b"PASS x"), b"User", b"bob", b"x"),
        ((b"USER bob", b"USER eve", b"PASS x"), b"User", b"eve", b"x"),
        ((b"USER bob", b"USER", b"USER e\0", b"PASS", b"PASS x"), b"User", b"bob", b"x"),
        ((b"USER  b o b  ", b"PASS   \xff x \r"), b"User", b"b o b  ", b"\xff x "),
        ((b"USER bob", b"PASS a\rb\r\r"), b"User", b"bob", b"a\rb\r"),
        ((b"USER \tbob", b"PASS \x01x"), b"User", b"\tbob", b"\x01x"),
        ((b"USER bob\x0e", b"PASS x\x0c"), b"User", b"bob\x0e", b"x\x0c"),
        ((b"user " + b"u" * 4091, b"pass " + b"p" * 4091), b"User", b"u" * 4091, b"p" * 4091),
        ((b"APOP bob d",), b"Apop", b"bob", b"d"),
        ((b"APOP  bob  d e ",), b"Apop", b"bob", b" d e "),
        ((b"USER eve", b"APOP b d"), b"Apop", b"b", b"d"),
    ],
)
def test_credentials(lines: tuple[bytes, ...], method: bytes, name: bytes, secret: bytes) -> None:
    """A login hands over its method, name and secret, byte by byte as they were said."""
    state = authorization("apop")
    assert ("", LOGIN) == (told(state, *lines)[-1][1].decode(), told(state, *lines)[-1][2])
    said = state.credentials
    assert (method, name, secret) == (said.method, said.name, bytes(said.secret))


def test_credentials_have_no_repr() -> None:
    """No log can show a name or a secret by accident."""
    state = authorization()
    told(state, b"USER bob", b"PASS secret")
    assert "bob" not in repr(state.credentials)
    assert "secret" not in repr(state.credentials)


def test_starting_tls_forgets_the_user() -> None:
    """What was said in clear does not count once TLS is on."""
    state = authorization("stls")
    told(state, b"USER bob", b"STLS")
    state.tls_started()
    assert [(b"PASS x", USER_FIRST, GO_ON), (b"STLS", NO_STLS, GO_ON)] == told(state, b"PASS x", b"STLS")


def test_a_secret_is_a_view_of_its_line() -> None:
    """Whoever wipes the line has wiped the secret: there is no copy of it."""
    for said, secret in ((b"PASS secret\r", b"secret"), (b"APOP bob digest", b"digest")):
        state, line = authorization("apop"), bytearray(said)
        told(state, b"USER bob")
        assert LOGIN == state.command(line)[1]
        assert secret == bytes(state.credentials.secret)
        line[:] = bytes(len(line))
        assert bytes(len(secret)) == bytes(state.credentials.secret)


@pytest.mark.parametrize(
    ("status", "text"),
    [(None, b"aack, child crashed"), (1, b"authorization failed"), (111, b"authorization failed")],
)
def test_a_refusal(status: int | None, text: bytes) -> None:
    """The client is told how the subprogram ended, and by a code, if there is one, whether to try again."""
    assert b"-ERR %s\r\n" % text == protocol.refusal(status, b"")
    assert b"-ERR [AUTH] %s\r\n" % text == protocol.refusal(status, b"[AUTH] ")


def test_a_subprogram_that_cannot_be_started() -> None:
    """The two ways of not being started have their own words, and are temporary."""
    assert b"-ERR unable to open pipe\r\n" == protocol.unable("pipe", resp_codes=False)
    assert b"-ERR [SYS/TEMP] unable to fork\r\n" == protocol.unable("fork", resp_codes=True)
