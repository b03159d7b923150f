"""Vectors of the AUTHORIZATION state: names and secrets, the subprogram's outcomes, its environment."""

from collections.abc import Iterator

from tests.conformance.phrases import (
    DONE,
    FAILED,
    GIVEN,
    LOGIN,
    NO_APOP,
    NO_STLS,
    OK,
    SYNTAX,
    TOO_LONG,
    UNAUTHORIZED,
    USER_FIRST,
    capabilities,
    record,
    told,
)
from tests.conformance.vector import Vector

_STAMPED = "+OK {stamp}\r\n"
_CODES = {"QMAIL_POPUP_RESP_CODES": "1"}


def _refused() -> Iterator[Vector]:
    """Yield commands that lead to no attempt, each checked in the order of the rules."""
    lines = {
        "PASS without a user and without a password": ("PASS\r\n", USER_FIRST),
        "PASS behind a USER that failed": ("USER\r\nPASS x\r\n", SYNTAX + USER_FIRST),
        "PASS of spaces": ("USER bob\r\nPASS    \r\n", DONE + SYNTAX),
        "APOP without all, where it is not enabled": ("APOP\r\n", NO_APOP),
        "CAPA with an argument": ("CAPA x\r\n", capabilities("TOP", "USER", "UIDL")),
    }
    for name, (text, replies) in lines.items():
        yield Vector(name=name, steps=told(text), out=OK + replies, exit=1)


def _given() -> Iterator[Vector]:
    """Yield USER and PASS, and what of them descriptor 3 gets."""
    lines = {
        "a USER without a name leaves the last good one": (
            "USER bob\r\nUSER\r\nPASS x\r\n",
            DONE + SYNTAX,
            "bob\0x",
        ),
        "a NUL in a later USER leaves the last good one": (
            "USER bob\r\nUSER e\0\r\nPASS x\r\n",
            DONE + SYNTAX,
            "bob\0x",
        ),
        "a too long USER leaves the last good one": (
            f"USER bob\r\nUSER {'e' * 4096}\r\nPASS x\r\n",
            DONE + TOO_LONG,
            "bob\0x",
        ),
        "a refused PASS leaves the name": (
            "USER bob\r\nPASS\r\nCAPS\r\nPASS x\r\n",
            DONE + SYNTAX + UNAUTHORIZED,
            "bob\0x",
        ),
        "CR inside and at the end of a password": ("USER bob\r\nPASS a\rb\r\r\n", DONE, "bob\0a\rb\r"),
        "white space that is no space belongs to the password": (
            "USER bob\r\nPASS \t\va\f\u0085\u00a0\r\n",
            DONE,
            "bob\0\t\va\f\u0085\u00a0",
        ),
        "the longest password": (f"USER bob\r\nPASS {'p' * 4091}\n", DONE, f"bob\0{'p' * 4091}"),
    }
    for name, (text, replies, given) in lines.items():
        yield Vector(
            name=name,
            steps=told(text),
            out=OK + replies,
            fd3=given + "\0{stamp}\0",
            log=record(),
            exit=0,
        )


def _apop() -> Iterator[Vector]:
    """Yield names that end at the first space, and digests that are all behind that one space."""
    lines = {
        "two spaces before the digest": ("APOP bob  d\r\n", "bob\0 d"),
        "spaces before the name": ("APOP   bob d\r\n", "bob\0d"),
        "a digest with spaces": ("APOP bob d e f \r\n", "bob\0d e f "),
        "a digest of one space": ("APOP bob  \r\n", "bob\0 "),
        "in any case": ("aPoP bob \u00ff\r\n", "bob\0\u00ff"),
        "behind a USER": ("USER eve\r\nAPOP bob d\r\n", "bob\0d"),
    }
    for name, (text, given) in lines.items():
        yield Vector(
            name=f"APOP, {name}",
            env={"POP3AUTH": "apop"},
            steps=told(text, _STAMPED),
            out=_STAMPED + (DONE if text.startswith("USER") else ""),
            fd3=given + "\0{stamp}\0",
            log=record(method="Apop"),
            exit=0,
        )
    yield Vector(
        name="APOP with a name and one space has no digest",
        env={"POP3AUTH": "apop"},
        steps=told("APOP bob \r\nAPOP \r\n", _STAMPED),
        out=_STAMPED + SYNTAX * 2,
    )


def _outcomes() -> Iterator[Vector]:
    """Yield every end of a subprogram, with and without response codes."""
    crashed = "-ERR aack, child crashed\r\n"
    ends = {
        "exit:2": (FAILED, "SYS/PERM"),
        "exit:3": (FAILED, "AUTH"),
        "exit:100": (FAILED, "AUTH"),
        "exit:110": (FAILED, "AUTH"),
        "exit:126": (FAILED, "SYS/TEMP"),
        "exit:127": (FAILED, "SYS/TEMP"),
        "exit:129": (FAILED, ""),
        "exit:130": (FAILED, ""),
        "exit:141": (FAILED, ""),
        "exit:143": (FAILED, ""),
        "exit:139": (FAILED, "AUTH"),
        "exit:111": (FAILED, "SYS/TEMP"),
        "exit:112": (FAILED, "AUTH"),
        "exit:255": (FAILED, "AUTH"),
        "signal:1": (crashed, ""),
        "signal:2": (crashed, ""),
        "signal:6": (crashed, "SYS/TEMP"),
        "signal:9": (crashed, "SYS/TEMP"),
        "signal:13": (crashed, ""),
        "signal:15": (crashed, ""),
    }
    for do, (reply, code) in ends.items():
        for env, wanted in (({}, reply), (_CODES, _coded(reply, code))):
            yield Vector(
                name=f"{do} {'with' if env else 'without'} response codes",
                env=env,
                do=do,
                steps=told(LOGIN),
                out=OK + DONE + wanted,
                fd3=GIVEN,
                log=record("Reject"),
                exit=1,
                differs="the C program logs a crash as Accept" if do.startswith("signal") else "",
            )


def _coded(reply: str, code: str) -> str:
    return reply.replace("-ERR ", f"-ERR [{code}] ") if code else reply


def _codes() -> Iterator[Vector]:
    """Yield response codes where the rules have them, and replies that must have none."""
    for name, subprogram, why in (
        ("cannot be found", "/nonexistent/x", "No such file or directory"),
        ("is a directory", "/", "Permission denied"),
        ("is empty", "", "No such file or directory"),
    ):
        yield Vector(
            name=f"response codes: a subprogram that {name} counts as 111",
            env=_CODES,
            argv=["pop.example.org", subprogram],
            steps=told(LOGIN),
            out=OK + DONE + "-ERR [SYS/TEMP] authorization failed\r\n",
            log=record("Reject"),
            errors=f"qmail-popup: cannot run {subprogram}: {why}\n",
            exit=1,
        )
    yield Vector(
        name="response codes: none on any other error",
        env=_CODES,
        steps=told("STAT\r\nPASS x\r\nUSER\r\nAPOP a b\r\nSTLS\r\n" + "n" * 4097 + "\n"),
        out=OK + UNAUTHORIZED + USER_FIRST + SYNTAX + NO_APOP + NO_STLS + TOO_LONG,
        exit=1,
    )
    yield Vector(
        name="response codes: CAPA lists them behind all others",
        env=_CODES | {"POP3AUTH": "apop", "UCSPITLS": ""},
        tls=True,
        steps=told("CAPA\r\n", _STAMPED),
        out=_STAMPED + capabilities("TOP", "USER", "UIDL", "APOP", "STLS", "RESP-CODES", "AUTH-RESP-CODE"),
    )
    for value in ("", "0", "yes", "11"):
        yield Vector(
            name=f"response codes: {value!r} does not turn them on",
            env={"QMAIL_POPUP_RESP_CODES": value},
            do="exit:1",
            steps=told("CAPA\r\n" + LOGIN),
            out=OK + capabilities("TOP", "USER", "UIDL") + DONE + FAILED,
            fd3=GIVEN,
            log=record("Reject"),
        )


def _environment() -> Iterator[Vector]:
    """Yield environments: the popup's as it was inherited, less what is the popup's own."""
    for given in (None, "C", "C.UTF-8", "de_DE.UTF-8", ""):
        yield Vector(
            name=f"LC_CTYPE inherited as {given!r} reaches the subprogram so",
            env={"LC_CTYPE": given},
            sub_env={"LC_CTYPE": given},
            steps=told(LOGIN),
            out=OK + DONE,
            fd3=GIVEN,
            log=record(),
        )
    kept = {
        "QMAIL_POPUP": "a",
        "XQMAIL_POPUP_A": "b",
        "SSLX": "c",
        "LC_ALL": "C",
        "LANG": "C",
        "N": "",
        "\u00ff\u00fe": "\u00fd",
    }
    own = ("QMAIL_POPUP_", "QMAIL_POPUP_UNKNOWN", "QMAIL_POPUP_STDERR", "SSLCTLFD", "SSLREADFD", "SSLWRITEFD")
    yield Vector(
        name="names that only look like the popup's own reach the subprogram",
        env=kept | dict.fromkeys(own, "0"),
        sub_env=kept | dict.fromkeys(own, None),
        steps=told(LOGIN),
        out=OK + DONE,
        fd3=GIVEN,
        log=record(),
    )
    yield Vector(
        name="a value of QMAIL_POPUP_STDERR that is not `keep` keeps nothing",
        env={"QMAIL_POPUP_STDERR": "1"},
        do="err:-ERR quota",
        steps=told(LOGIN),
        out=OK + DONE + "-ERR quota\r\n" + FAILED,
        fd3=GIVEN,
        log=record("Reject"),
    )
    yield Vector(
        name="PATH unset means /bin:/usr/bin",
        env={"PATH": None},
        argv=["pop.example.org", "true"],
        steps=told(LOGIN),
        out=OK + DONE,
        log=record(),
        exit=0,
    )


VECTORS = [*_refused(), *_given(), *_apop(), *_outcomes(), *_codes(), *_environment()]
