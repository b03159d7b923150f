"""Vectors of the TLS handshake: what the server answers, when it answers, and how a handshake fails."""

from collections.abc import Iterator

from tests.conformance.phrases import DONE, GIVEN, LOGIN, OK, STARTING, over_tls, record
from tests.conformance.vector import ANSWER, Vector

_OFFERED: dict[str, str | None] = {"UCSPITLS": ""}
_SECURE = record(protocol="POP3S")


def _answers() -> Iterator[Vector]:
    """Yield what the server says of TLS, and what of it reaches the subprogram."""
    ours = {"SSLCTLFD": None, "SSLREADFD": None, "SSLWRITEFD": None}
    big = "b" * 60_000
    answers: dict[str, tuple[str, dict[str, str | None]]] = {
        "empty": ("\0", {"SSL_PROTOCOL": None}),
        "with names that do not begin with SSL": (
            "LD_PRELOAD=/x\0SSL_X=1\0XSSL=2\0ssl_y=3\0QMAIL_POPUP_X=1\0\0",
            {"LD_PRELOAD": None, "SSL_X": "1", "XSSL": None, "ssl_y": None, "QMAIL_POPUP_X": None},
        ),
        "that sets the descriptors' names": (
            "SSLCTLFD=7\0SSLREADFD=8\0SSLWRITEFD=9\0SSL_X=1\0\0",
            {"SSL_X": "1"},
        ),
        "that replaces what was inherited": ("SSL_OLD=new\0\0", {"SSL_OLD": "new"}),
        "with an empty value and an equals sign": ("SSL_A=\0SSL_B=b=c\0\0", {"SSL_A": "", "SSL_B": "b=c"}),
        "of bytes that are no text": ("SSL_A=\u00ff\u00fe\x01\n\0\0", {"SSL_A": "\u00ff\u00fe\x01\n"}),
        "with an entry that is none": ("SSLJUNK\0SSL_X=1\0\0", {"SSLJUNK": None, "SSL_X": "1"}),
        "of nearly 64 KiB": (f"SSL_BIG={big}\0SSL_X=1\0\0", {"SSL_BIG": big, "SSL_X": "1"}),
    }
    for name, (answer, sub_env) in answers.items():
        yield Vector(
            name=f"an answer {name}",
            env=_OFFERED | {"SSL_OLD": "old"},
            tls=True,
            answer=answer,
            steps=over_tls(["send", "NOOP\r\n"], ["read", DONE], ["send", LOGIN]),
            out=OK + STARTING + DONE * 2,
            fd3=GIVEN,
            log=_SECURE,
            sub_env=sub_env | ours,
            exit=0,
        )
    yield Vector(
        name="an answer in pieces",
        env=_OFFERED,
        tls=True,
        steps=over_tls(
            *(["answer", byte] for byte in ANSWER[:-1]),
            ["send", "NOOP\r\n"],
            ["read", DONE],
            ["answer", ANSWER[-1:]],
            ["send", LOGIN],
            start="tls-silent",
        ),
        out=OK + STARTING + DONE * 2,
        fd3=GIVEN,
        log=_SECURE,
        sub_env={"SSL_PROTOCOL": "TLSv1.3", "SSL_CIPHER": "TLS_AES_256_GCM_SHA384"},
        exit=0,
    )
    yield Vector(
        name="half an answer holds no login up, and is none",
        env=_OFFERED,
        tls=True,
        steps=over_tls(["answer", "SSL_X=1\0SSL_Y="], ["send", LOGIN], start="tls-silent"),
        out=OK + STARTING + DONE,
        fd3=GIVEN,
        log=_SECURE,
        sub_env={"SSL_X": None, "SSL_Y": None},
        exit=0,
    )


def _failures() -> Iterator[Vector]:
    """Yield handshakes that fail: no reply, no record, status 1."""
    ways: dict[str, list[list[str]]] = {
        "the end of input": over_tls(["eof"], start="tls-silent"),
        "half an answer, then the end of the control socket": over_tls(
            ["answer", "SSL_X=1\0"], ["ctl-closed"], start="tls-silent"
        ),
        "half an answer, then SIGTERM": over_tls(
            ["answer", "SSL_X=1\0"], ["signal", "SIGTERM"], start="tls-silent"
        ),
        "SIGTERM behind a command": over_tls(["send", "NOO"], ["signal", "SIGTERM"], start="tls-silent"),
        "an answer over 64 KiB": over_tls(["answer", "SSL_A=" + "a" * 70_000], start="tls-silent"),
        "an answer over 64 KiB with its end": over_tls(
            ["answer", "SSL_A=a\0" * 9_000 + "\0"], start="tls-silent"
        ),
    }
    for name, steps in ways.items():
        yield Vector(
            name=f"a TLS handshake that fails: {name}",
            env=_OFFERED,
            tls=True,
            steps=steps,
            out=OK + STARTING,
            exit=1,
            differs="the C program waits on, or dies of the signal",
        )
    yield Vector(
        name="the control socket is closed before STLS",
        env=_OFFERED,
        tls=True,
        steps=[["read", OK], ["ctl-closed"], ["send", "STLS\r\n"]],
        out=OK + STARTING + "-ERR TLS startup failed\r\n",
        exit=1,
    )
    for name, answer in (("the", ANSWER), ("an empty", "\0")):
        yield Vector(
            name=f"the end of the control socket behind {name} answer is no failure",
            env=_OFFERED,
            tls=True,
            answer=answer,
            steps=over_tls(["ctl-closed"], ["send", "NOOP\r\n"], ["read", DONE], ["send", LOGIN]),
            out=OK + STARTING + DONE * 2,
            fd3=GIVEN,
            log=_SECURE,
            exit=0,
        )
    yield Vector(
        name="a TLS handshake that fails: SIGTERM, which the caller had ignored",
        env=_OFFERED,
        tls=True,
        ignore=["SIGTERM"],
        steps=over_tls(["signal", "SIGTERM"], start="tls-silent"),
        out=OK + STARTING,
        exit=1,
    )
    yield Vector(
        name="an ignored SIGTERM is ignored again behind the answer",
        env=_OFFERED,
        tls=True,
        ignore=["SIGTERM"],
        steps=over_tls(*[["send", "NOOP\r\n"], ["read", DONE]] * 2, ["signal", "SIGTERM"], ["send", LOGIN]),
        out=OK + STARTING + DONE * 3,
        fd3=GIVEN,
        log=_SECURE,
        exit=0,
    )


_SECURED: dict[str, str | None] = {"SSL_PROTOCOL": "TLSv1.3"}
_TWICE = [["send", "NOOP\r\n"], ["read", DONE]] * 2
"""Behind the second reply the answer has been read."""


def _last_words() -> Iterator[Vector]:
    """Yield what SIGTERM says at any other time: what is there is served, and nothing more is waited for."""
    yield Vector(
        name="SIGTERM behind the answer says that nothing more will come",
        env=_OFFERED,
        tls=True,
        steps=over_tls(*_TWICE, ["signal", "SIGTERM"]),
        out=OK + STARTING + DONE * 2,
        exit=1,
        differs="the C program dies of it",
    )
    yield Vector(
        name="SIGTERM behind a login that has been sent behind the answer",
        env=_OFFERED,
        tls=True,
        steps=over_tls(*_TWICE, ["send", LOGIN], ["signal", "SIGTERM"]),
        out=OK + STARTING + DONE * 3,
        fd3=GIVEN,
        log=_SECURE,
        exit=0,
        differs="the C program dies of it",
    )
    servers: dict[str, tuple[bool, dict[str, str | None]]] = {
        "offers TLS": (True, _OFFERED),
        "could offer TLS": (True, {}),
        "has been told not to": (True, {"UCSPITLS": "-"}),
        "has TLS on": (False, _SECURED),
    }
    for name, (tls, env) in servers.items():
        log = record(protocol="POP3S") if env is _SECURED else record()
        yield Vector(
            name=f"SIGTERM from a server that {name}",
            env=env,
            tls=tls,
            steps=[["read", OK], ["send", "NOO"], ["signal", "SIGTERM"]],
            out=OK,
            exit=1,
            differs="the C program dies of it",
        )
        yield Vector(
            name=f"SIGTERM behind a login, from a server that {name}",
            env=env,
            tls=tls,
            steps=[["read", OK], ["send", LOGIN], ["signal", "SIGTERM"]],
            out=OK + DONE,
            fd3=GIVEN,
            log=log,
            exit=0,
            differs="the C program dies of it",
        )
        yield Vector(
            name=f"an ignored SIGTERM from a server that {name}",
            env=env,
            tls=tls,
            ignore=["SIGTERM"],
            steps=[
                ["read", OK],
                ["signal", "SIGTERM"],
                ["send", "NOOP\r\n"],
                ["read", DONE],
                ["send", LOGIN],
            ],
            out=OK + DONE * 2,
            fd3=GIVEN,
            log=log,
            exit=0,
        )
    yield Vector(
        name="SIGTERM from any other server",
        steps=[["read", OK], ["signal", "SIGTERM"]],
        out=OK,
        exit=-15,
    )


VECTORS = [*_answers(), *_failures(), *_last_words()]
