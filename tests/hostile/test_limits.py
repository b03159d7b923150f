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


def _told(running: Popup, what: str) -> None:
    """Status 1, one reply, no record, no traceback."""
    assert f"+OK \r\n-ERR {what}\r\n".encode() == running.talk(LOGIN)
    assert (1, [], b"") == (running.status(), running.records(), running.errors())


_CODES = pytest.mark.parametrize(("codes", "code"), [("", ""), ("1", "[SYS/TEMP] ")], ids=["plain", "codes"])


def _without_descriptors(popup: list[str], most: int, codes: str, what: str) -> None:
    env = {"PATH": os.environ["PATH"], "QMAIL_POPUP_RESP_CODES": codes}
    with Popup(popup, env=env) as running:
        assert b"+OK\r\n" == running.line.receive_line()
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (most, most))
        _told(running, what)


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
        _told(running, f"{code}unable to fork")


def test_an_environment_too_large_to_hand_on_counts_as_111(popup: list[str]) -> None:
    """What the TLS server or the caller brings may be more than an execve takes once limits are lowered."""
    env = {"PATH": os.environ["PATH"], "QMAIL_POPUP_RESP_CODES": "1"} | {
        f"V{n}": "v" * 100_000 for n in range(12)
    }
    with Popup(popup, env=env) as running:
        assert b"+OK\r\n" == running.line.receive_line()
        resource.prlimit(running.process.pid, resource.RLIMIT_STACK, (1 << 19, 1 << 19))
        assert b"+OK \r\n-ERR [SYS/TEMP] authorization failed\r\n" == running.talk(LOGIN)
        assert (1, [running.record("Reject")], b"") == (running.status(), running.records(), running.errors())
