"""The verdict itself: a session that is right has no complaint, and each thing that is wrong has one."""

from dataclasses import replace

import pytest

from tests.conformance.notes import Notes
from tests.conformance.phrases import DONE, GIVEN, LOGIN, OK, record, told
from tests.conformance.session import Seen
from tests.conformance.vector import Vector
from tests.conformance.verdict import complaints

_NOW = 1_700_000_000  # the same for each worker that collects these tests
_STAMP = f"<7.{_NOW}@pop.example.org>"
_VECTOR = Vector(
    name="a login",
    steps=told(LOGIN),
    out=OK + DONE,
    fd3=GIVEN,
    log=record(),
    exit=0,
    rest="",
    sub_argv=["next"],
    sub_env={"A": "1", "B": None},
)
_NOTES = Notes(
    argv=["next"], fd3=f"bob\0x\0{_STAMP}\0", fds=[0, 1, 2, 3, 5], rest="", ignored=0, blocked=0, env=["A=1"]
)
_SEEN = Seen(
    pid=7,
    began=_NOW,
    out=b"+OK\r\n+OK \r\n",
    log=[b"qmail-popup: pid 7 Accept::AUTH::User P:POP3 S:unknown:unknown ?~ 'bob'\n"],
    exit=0,
    notes=_NOTES,
)


def test_a_session_as_its_vector_has_it() -> None:
    """Nothing is said of it."""
    assert [] == complaints(_VECTOR, _SEEN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"out": b"+OK\r\n+OK\r\n"},
        {"out": b"+OK\r\n+OK \r\n-ERR more\r\n"},
        {"packets": [b"+OK \r\n", b"+OK"]},
        {"errors": b"Traceback"},
        {"log": []},
        {"log": _SEEN.log * 2},
        {"log": [_SEEN.log[0][:-1], b"\n"]},
        {"log": [_SEEN.log[0].replace(b"pid 7", b"pid 8")]},
        {"pid": 8},
        {"began": _NOW + 1},
        {"exit": 1},
        {"exit": None},
        {"said": b"Y"},
        {"notes": None},
        {"problems": ["did not exit"]},
    ],
    ids=str,
)
def test_a_session_that_is_wrong(wrong: dict[str, object]) -> None:
    """One thing seen is not as it must be."""
    assert [] != complaints(_VECTOR, replace(_SEEN, **wrong))  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(
    "wrong",
    [
        {"fd3": ""},
        {"fd3": "bob\0x\0"},
        {"fd3": f"bob\0x\0{_STAMP.replace('<7', '<8')}\0"},
        {"fd3": f"bob\0x\0{_STAMP.replace('@', '9@')}\0"},
        {"fds": [0, 1, 2, 3]},
        {"fds": [0, 1, 2, 3, 5, 10]},
        {"rest": "STAT"},
        {"argv": []},
        {"ignored": 1 << 12},
        {"ignored": 1 << 16},
        {"blocked": 1 << 14},
        {"env": []},
        {"env": ["A=1", "B="]},
        {"env": ["A=1", "A=1"]},
    ],
    ids=str,
)
def test_a_subprogram_that_was_started_wrong(wrong: dict[str, object]) -> None:
    """One thing that the probe noted is not as it must be."""
    notes = _NOTES._replace(**wrong)  # type: ignore[arg-type]  # any field
    assert [] != complaints(_VECTOR, replace(_SEEN, notes=notes))


def test_a_subprogram_that_must_not_run() -> None:
    """Where there was no attempt, none may be seen."""
    assert [] != complaints(replace(_VECTOR, fd3=None), _SEEN)


def test_what_was_left_for_the_handshake() -> None:
    """A hello that the popup has read is lost."""
    vector = replace(_VECTOR, behind_stls="hello")
    assert [] == complaints(vector, replace(_SEEN, left=b"hello"))
    assert [] != complaints(vector, replace(_SEEN, left=b"ello"))
