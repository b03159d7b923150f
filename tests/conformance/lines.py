"""Vectors of lines: where they end, how long they are, and what is left unread behind them."""

from collections.abc import Iterator

from tests.conformance.phrases import (
    DONE,
    FAILED,
    GIVEN,
    LOGIN,
    OK,
    SYNTAX,
    TOO_LONG,
    UNAUTHORIZED,
    USER_FIRST,
    record,
    told,
)
from tests.conformance.vector import Vector

_LONGEST = 4096
_MEBIBYTE = 1 << 20
_STAMPED = "+OK {stamp}\r\n"


def _replies() -> Iterator[Vector]:
    """Yield lines that hand nothing over, and the replies to them."""
    lines = {
        "spaces behind a verb": ("NOOP   \r\n", DONE),
        "an argument that nobody wants": ("NOOP now please\r\n", DONE),
        "a space before the verb": (" NOOP\r\n", UNAUTHORIZED),
        "a line of spaces": ("   \r\n", UNAUTHORIZED),
        "a tab ends no verb": ("USER\tbob\r\n", UNAUTHORIZED),
        "a no-break space ends no verb": ("USER\u00a0bob\r\n", UNAUTHORIZED),
        "a vertical tab ends no verb": ("NOOP\v\r\n", UNAUTHORIZED),
        "a verb with more behind it": ("NOOPS\r\nUSERS bob\r\n", UNAUTHORIZED * 2),
        "a verb with less": ("NOO\r\nPAS x\r\n", UNAUTHORIZED * 2),
        "one CR before LF is dropped, a second is not": ("NOOP\r\r\n", UNAUTHORIZED),
        "a CR alone ends no line": ("NOOP\rNOOP\r\n", UNAUTHORIZED),
        "a line of one CR": ("\r\n\n", UNAUTHORIZED * 2),
        "a NUL alone": ("\0\n", SYNTAX),
        "a NUL behind a verb": ("NOOP\0\r\n", SYNTAX),
        "a NUL between CR and LF": ("NOOP\r\0\nNOOP\r\n", SYNTAX + DONE),
    }
    for name, (text, replies) in lines.items():
        yield Vector(name=name, steps=told(text), out=OK + replies, exit=1)


def _padded(size: int, verb: str = "NOOP ") -> str:
    return verb + "n" * (size - len(verb))


def _lengths() -> Iterator[Vector]:
    """Yield lines about the limit, which counts all but the LF."""
    lines = {
        "4,096 bytes and LF": (_padded(_LONGEST) + "\n", DONE),
        "4,095 bytes and CR LF": (_padded(_LONGEST - 1) + "\r\n", DONE),
        "4,096 bytes and CR LF are one too many": (_padded(_LONGEST) + "\r\n", TOO_LONG),
        "4,097 bytes and LF are one too many": (_padded(_LONGEST + 1) + "\n", TOO_LONG),
        "too long wins over a NUL at the beginning": ("\0" + _padded(_LONGEST) + "\n", TOO_LONG),
        "too long wins over a NUL beyond the limit": (_padded(_LONGEST) + "\0\n", TOO_LONG),
        "a NUL as the last byte of the longest line": (_padded(_LONGEST - 1) + "\0\n", SYNTAX),
        "a much too long line is one line": (_padded(100_000) + "\r\nNOOP\r\n", TOO_LONG + DONE),
        "two too long lines are two": ((_padded(_LONGEST + 1) + "\r\n") * 2, TOO_LONG * 2),
        "a too long line without an end gets no reply": (_padded(20_000), ""),
        "a too long line is no command even where its end would be one": (
            "n" * 4097 + "\rQUIT\r\n",
            TOO_LONG,
        ),
    }
    for name, (text, replies) in lines.items():
        yield Vector(name=name, steps=told(text), out=OK + replies, exit=1)


def _handed_over() -> Iterator[Vector]:
    """Yield the shortest ways to the line that hands over: no byte of what follows may be read."""
    behind = "STAT\nQUIT\n"
    ways = {
        "the shortest PASS": ("USER bob\nPASS x\n", DONE),
        "a line of one byte before": ("USER bob\nN\nPASS x\n", DONE + UNAUTHORIZED),
        "empty lines before": ("USER bob\n\n\n\nPASS x\n", DONE + UNAUTHORIZED * 3),
        "the beginning of a verb before": ("USER bob\nPAS\nPASS x\n", DONE + UNAUTHORIZED),
        "PASS without a password before": ("USER bob\nPASS\nPASS \nPASS x\n", DONE + SYNTAX * 2),
        "PASS without a user before": ("PASS x\nUSER bob\nPASS x\n", USER_FIRST + DONE),
        "QUI before": ("USER bob\nQUI\nPASS x\n", DONE + UNAUTHORIZED),
        "a NUL before": ("USER bob\n\0\nPASS x\n", DONE + SYNTAX),
        "a too long line before": ("USER bob\n" + "P" * 4097 + "\nPASS x\n", DONE + TOO_LONG),
        "a line of the longest size before": ("USER bob\n" + _padded(_LONGEST) + "\nPASS x\n", DONE * 2),
    }
    for name, (text, replies) in ways.items():
        for apop in (False, True):
            greeting = _STAMPED if apop else OK
            yield Vector(
                name=f"never read ahead, {'with' if apop else 'without'} APOP: {name}",
                env={"POP3AUTH": "apop"} if apop else {},
                steps=told(text + behind, greeting),
                do="stdin",
                out=greeting + replies,
                fd3=GIVEN,
                log=record(),
                rest=behind,
            )


def _endless() -> Iterator[Vector]:
    """Yield lines about the mebibyte behind which nobody waits for their end."""
    lines = {
        "a mebibyte and LF is a line that is too long": ("n" * _MEBIBYTE + "\nNOOP\n", TOO_LONG + DONE),
        "a mebibyte and one byte ends the session without a reply": ("n" * (_MEBIBYTE + 1) + "\nNOOP\n", ""),
        "a mebibyte behind USER and a NUL": ("USER bob\n\0" + "n" * _MEBIBYTE + "\n", DONE),
    }
    for name, (text, replies) in lines.items():
        yield Vector(name=name, steps=told(text), out=OK + replies, exit=1)
    yield Vector(
        name="a line beyond a mebibyte ends the session though the client waits",
        steps=[["read", OK], ["send", "n" * (_MEBIBYTE + 1)]],
        out=OK,
        exit=1,
    )


def _login_timeouts() -> Iterator[Vector]:
    """Yield times to log in, which no activity makes longer, and which end with the login."""
    yield Vector(
        name="QMAIL_POPUP_LOGIN_TIMEOUT ends a session as an idle one ends, though it is not idle",
        env={"QMAIL_POPUP_LOGIN_TIMEOUT": "1"},
        steps=[["read", OK], ["send", "NOOP\r\n"], ["read", DONE], ["send", "USER bob\r\n"], ["read", DONE]],
        out=OK + DONE * 2,
        exit=1,
    )
    yield Vector(
        name="QMAIL_POPUP_LOGIN_TIMEOUT is over once a login is handed on",
        env={"QMAIL_POPUP_LOGIN_TIMEOUT": "1"},
        do="slow:1",
        steps=told(LOGIN),
        out=OK + DONE + FAILED,
        fd3=GIVEN,
        log=record("Reject"),
        exit=1,
    )
    for value in ("0", "", "soon", "-1"):
        yield Vector(
            name=f"QMAIL_POPUP_LOGIN_TIMEOUT={value!r} is none",
            env={"QMAIL_POPUP_LOGIN_TIMEOUT": value, "QMAIL_POPUP_TIMEOUT": "2"},
            steps=told("NOOP\r\n" + LOGIN),
            out=OK + DONE * 2,
            fd3=GIVEN,
            log=record(),
            exit=0,
        )


VECTORS = [
    *_replies(),
    *_endless(),
    *_login_timeouts(),
    *_lengths(),
    *_handed_over(),
    Vector(
        name="never read ahead: behind APOP",
        env={"POP3AUTH": "apop"},
        steps=told("AP\nAPOP\nAPOP \nAPOP b d\nRETR 1\n\0\r\n", _STAMPED),
        do="stdin",
        out=_STAMPED + UNAUTHORIZED + SYNTAX * 2,
        fd3="b\0d\0{stamp}\0",
        log=record(method="Apop", name="b"),
        rest="RETR 1\n\0\r\n",
    ),
    Vector(
        name="never read ahead: from a pipe, with nothing behind",
        packets=True,
        steps=told("USER bob\nPASS x\n"),
        do="stdin",
        out=OK + DONE,
        fd3=GIVEN,
        log=record(),
        rest="",
    ),
    Vector(
        name="lines in pieces",
        steps=[["read", OK], *(["send", byte] for byte in "nOoP x\r\n"), ["read", DONE], ["send", LOGIN]],
        out=OK + DONE * 2,
        fd3=GIVEN,
        log=record(),
        exit=0,
    ),
    Vector(
        name="an idle client in the middle of a line is dropped without a word",
        env={"QMAIL_POPUP_TIMEOUT": "1"},
        steps=[["read", OK], ["send", "NOO"]],
        out=OK,
        exit=1,
    ),
    Vector(
        name="an idle client in the middle of a too long line is dropped without a word",
        env={"QMAIL_POPUP_TIMEOUT": "1"},
        steps=[["read", OK], ["send", "n" * 5000]],
        out=OK,
        exit=1,
    ),
    *(
        Vector(
            name=f"QMAIL_POPUP_TIMEOUT={value!r} means 1,200 seconds",
            env={"QMAIL_POPUP_TIMEOUT": value},
            steps=[
                ["read", OK],
                ["send", "NOOP\r\n"],
                ["read", DONE],
                ["send", "NOOP\r\n"],
                ["read", DONE],
                ["eof"],
            ],
            out=OK + DONE * 2,
            exit=1,
        )
        for value in ("0", "", "soon", "-5", "0.001", "\u00b2", "9" * 400)
    ),
]
