"""The password is where it belongs and nowhere else."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.popup import Popup, shell
from tests.support.waiting import until

_SECRET = b"correct-horse-4711-battery-staple"
_DIGEST = b"0123456789abcdeffedcba9876543210"
_WRITABLE = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) rw", re.MULTILINE)
_WAITS = shell("cat <&3 >/dev/null; echo here; cat")
"""A subprogram that has read its secret, says so, and stays."""


def _memory(pid: int) -> Iterator[bytes]:
    """Yield all that the process can have written to, region by region."""
    maps = Path(f"/proc/{pid}/maps").read_bytes()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end in _WRITABLE.findall(maps):
            memory.seek(int(start, 16))
            with suppress(OSError):
                yield memory.read(int(end, 16) - int(start, 16))


def _public() -> Iterator[bytes]:
    """Yield what any process shows of itself."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline"):
            with suppress(OSError):
                yield Path("/proc", pid, name).read_bytes()


@pytest.mark.parametrize(
    ("said", "secret", "env"),
    [
        (b"USER bob\r\nPASS " + _SECRET + b"\r\n", _SECRET, {}),
        (b"USER bob\r\nPASS " + _SECRET * 100 + b"\r\n", _SECRET, {}),
        (b"APOP bob " + _DIGEST + b"\r\n", _DIGEST, {"POP3AUTH": "apop"}),
    ],
    ids=["PASS", "a long PASS", "APOP"],
)
def test_the_secret_is_gone_once_it_is_handed_over(
    popup: list[str], said: bytes, secret: bytes, env: dict[str, str]
) -> None:
    """While the mail is served it is neither in the popup's memory nor in what any process shows."""
    with Popup(popup, _WAITS, env={"PATH": os.environ["PATH"], **env}) as running:
        running.line.send(said)
        while running.line.receive_line() != b"here\n":
            pass
        assert any(
            b"qmail-popup: pid" in region or b"pop.example.org" in region
            for region in _memory(running.process.pid)
        )
        # The subprogram may be faster than the popup.
        until(lambda: not any(secret in region for region in _memory(running.process.pid)))
        assert not any(secret in shown for shown in _public())


@pytest.mark.parametrize(
    "said", [b"PASS " + _SECRET + b"\r\n", b"USER bob\r\nPASS " + _SECRET, b"PSAS " + _SECRET + b"\r\n"]
)
def test_a_secret_that_led_nowhere_is_not_repeated(popup: list[str], said: bytes) -> None:
    """A mistyped or early PASS reaches neither the client nor a log."""
    with Popup(popup) as running:
        assert _SECRET not in running.talk(said)
        assert 1 == running.status()
        assert ([], b"") == (running.records(), running.errors())
