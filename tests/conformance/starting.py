"""Vectors of the start: arguments, greeting, signals, the network that does not block."""

from tests.conformance.phrases import (
    DONE,
    FAILED,
    GIVEN,
    LOGIN,
    NO_APOP,
    OK,
    SYNTAX,
    UNAUTHORIZED,
    record,
    told,
)
from tests.conformance.vector import Vector

_STAMPED = "+OK {stamp}\r\n"
_ODD = "-h\u00f6st \u00ff%s{\x01"

VECTORS = [
    Vector(
        name="two arguments are a hostname and a subprogram, whatever they look like",
        argv=["--help", "/probe"],
        env={"POP3AUTH": "apop"},
        steps=[["read", "+OK <{pid}.{time}@--help>\r\n"], ["send", LOGIN]],
        out="+OK <{pid}.{time}@--help>\r\n+OK \r\n",
        fd3="bob\0x\0<{pid}.{time}@--help>\0",
        log=record(),
        sub_argv=[],
    ),
    Vector(
        name="--check with one argument behind it is a hostname",
        argv=["--check", "/probe"],
        steps=told(LOGIN),
        out=OK + DONE,
        fd3="bob\0x\0<{pid}.{time}@--check>\0",
        log=record(),
        sub_argv=[],
    ),
    Vector(
        name="a hostname is bytes, in the greeting and on descriptor 3",
        argv=[_ODD, "/probe"],
        env={"POP3AUTH": "apop"},
        steps=[["read", f"+OK <{{pid}}.{{time}}@{_ODD}>\r\n"], ["send", LOGIN]],
        out=f"+OK <{{pid}}.{{time}}@{_ODD}>\r\n+OK \r\n",
        fd3=f"bob\0x\0<{{pid}}.{{time}}@{_ODD}>\0",
        log=record(),
    ),
    Vector(
        name="an empty hostname is one",
        argv=["", "/probe"],
        steps=told(LOGIN),
        out=OK + DONE,
        fd3="bob\0x\0<{pid}.{time}@>\0",
        log=record(),
    ),
    Vector(
        name="arguments of the subprogram are handed on as they are",
        argv=["pop.example.org", "/probe", "", "a b", "-x", "\u00ff\n", "--help"],
        steps=told(LOGIN),
        out=OK + DONE,
        fd3=GIVEN,
        log=record(),
        sub_argv=["", "a b", "-x", "\udcff\n", "--help"],
    ),
    *(
        Vector(
            name=f"POP3AUTH={value!r} enables APOP",
            env={"POP3AUTH": value},
            steps=told("APOP bob\r\n", _STAMPED),
            out=_STAMPED + SYNTAX,
        )
        for value in ("APOP", "+ApOp", "apop,user", "+apopx")
    ),
    *(
        Vector(
            name=f"POP3AUTH={value!r} enables nothing",
            env={"POP3AUTH": value},
            steps=told("APOP bob\r\n"),
            out=OK + NO_APOP,
        )
        for value in ("", "+", "++apop", " apop", "user,apop", "apo")
    ),
    *(
        Vector(
            name=f"{name} ends the popup as it ends any program",
            steps=[["read", OK], ["signal", name]],
            out=OK,
            exit=-number,
        )
        for name, number in (("SIGTERM", 15), ("SIGINT", 2), ("SIGHUP", 1))
    ),
    *(
        Vector(
            name=f"an ignored {name} stays ignored",
            ignore=[name],
            steps=[
                ["read", OK],
                ["signal", name],
                ["send", "NOOP\r\n"],
                ["read", DONE],
                ["signal", name],
                ["eof"],
            ],
            out=OK + DONE,
            exit=1,
        )
        for name in ("SIGTERM", "SIGINT")
    ),
    *(
        Vector(
            name=f"signals that the caller ignored do not hide the subprogram's end ({do})",
            ignore=["SIGCHLD", "SIGPIPE", "SIGXFSZ"],
            do=do,
            steps=told(LOGIN),
            out=OK + DONE + reply,
            fd3=GIVEN,
            log=record(result),
            exit=status,
        )
        for do, reply, result, status in (
            ("exit:0", "", "Accept", 0),
            ("exit:1", FAILED, "Reject", 1),
            ("signal:9", "-ERR aack, child crashed\r\n", "Reject", 1),
        )
    ),
    Vector(
        name="a network that does not block is waited for",
        nonblocking=True,
        steps=[["read", OK], ["send", "NO"], ["send", "OP\r\nSTAT\r\n"], ["read", DONE], ["send", LOGIN]],
        do="exit:1",
        out=OK + DONE + UNAUTHORIZED + DONE + FAILED,
        fd3=GIVEN,
        log=record("Reject"),
        exit=1,
    ),
]
