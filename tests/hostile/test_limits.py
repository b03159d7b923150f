"""No more descriptors, no more processes: the client is told, and what was no attempt has no record."""

import os
import resource

import pytest

from tests.support.popup import LOGIN, Popup
from tests.support.programs import need


@pytest.fixture
def counted(popup: list[str]) -> list[str]:
    """Return the popup as a user whose processes are counted (root's are not), but who may still read all."""
    if os.geteuid() != 0:
        return popup
    (setpriv,) = need("setpriv")
    # A uid for each run of the tests: another's processes would count too.
    return [
        setpriv,
        "--ruid",
        str(50_000 + os.getpid()),
        "--bounding-set",
        "-sys_resource,-sys_admin",
        "--",
        *popup,
    ]


def _no_second_process() -> None:
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))


def _refused(running: Popup, what: str, why: str) -> None:
    """Status 1, one reply, no record, and a line for the operator, where that can be written."""
    assert f"+OK \r\n-ERR {what}\r\n".encode() == running.talk(LOGIN)
    assert (1, []) == (running.status(), running.records())
    line = f"qmail-popup: cannot start /bin/true: {why}\n".encode()
    assert running.errors() in (line, b"") if why == _NO_DESCRIPTOR else line == running.errors()


_NO_DESCRIPTOR = "Too many open files"
_CODES = pytest.mark.parametrize(("codes", "code"), [("", ""), ("1", "[SYS/TEMP] ")], ids=["plain", "codes"])


def _without_descriptors(popup: list[str], most: int, codes: str, what: str) -> None:
    env = {"PATH": os.environ["PATH"], "QMAIL_POPUP_RESP_CODES": codes}
    with Popup(popup, env=env) as running:
        assert b"+OK\r\n" == running.line.receive_line()
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (most, most))
        _refused(running, what, _NO_DESCRIPTOR)


@_CODES
def test_one_descriptor_is_left(popup: list[str], codes: str, code: str) -> None:
    """A pipe takes two."""
    _without_descriptors(popup, 4, codes, f"{code}unable to open pipe")


@_CODES
def test_no_descriptor_is_left(popup: list[str], codes: str, code: str) -> None:
    """The installed popup has all of its code by then; from a checkout, not even that can be read."""
    _without_descriptors(popup, 3, codes, f"{code}unable to open pipe")


@_CODES
def test_no_process_is_left(counted: list[str], codes: str, code: str) -> None:
    """The user has as many as it may have."""
    env = {"PATH": os.environ["PATH"], "QMAIL_POPUP_RESP_CODES": codes}
    with Popup(counted, env=env, prepare=_no_second_process) as running:
        assert b"+OK\r\n" == running.line.receive_line()
        _refused(running, f"{code}unable to fork", "Resource temporarily unavailable")


def test_an_environment_too_large_to_hand_on_counts_as_111(popup: list[str]) -> None:
    """What the TLS server or the caller brings may be more than an execve takes once limits are lowered."""
    env = {"PATH": os.environ["PATH"], "QMAIL_POPUP_RESP_CODES": "1"} | {
        f"V{n}": "v" * 100_000 for n in range(12)
    }
    with Popup(popup, env=env) as running:
        assert b"+OK\r\n" == running.line.receive_line()
        resource.prlimit(running.process.pid, resource.RLIMIT_STACK, (1 << 19, 1 << 19))
        assert b"+OK \r\n-ERR [SYS/TEMP] authorization failed\r\n" == running.talk(LOGIN)
        assert (1, [running.record("Reject")]) == (running.status(), running.records())
        assert b"qmail-popup: cannot run /bin/true: Argument list too long\n" == running.errors()
