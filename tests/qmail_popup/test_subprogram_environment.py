"""The subprogram's environment: the popup's as it was inherited, less what is the popup's own."""

import os
import resource
import subprocess

import pytest

from qmail_popup.subprogram import environment
from tests.support import descriptors
from tests.support.child import run
from tests.support.descriptors import CHECKOUT


@pytest.mark.parametrize(
    ("inherited", "told", "given"),
    [
        ({b"A": b"1", b"B": b""}, {}, {b"A": b"1", b"B": b""}),
        ({b"A": b"1"}, {b"SSL_A": b"2"}, {b"A": b"1", b"SSL_A": b"2"}),
        ({b"SSL_A": b"1"}, {b"SSL_A": b"2"}, {b"SSL_A": b"2"}),
        (dict.fromkeys([b"SSLCTLFD", b"SSLREADFD", b"SSLWRITEFD"], b"9"), {}, {}),
        ({}, dict.fromkeys([b"SSLCTLFD", b"SSLREADFD", b"SSLWRITEFD"], b"9"), {}),
        ({b"SSLCTLFDS": b"9", b"SSLREAD": b"9"}, {}, {b"SSLCTLFDS": b"9", b"SSLREAD": b"9"}),
        ({b"QMAIL_POPUP_TIMEOUT": b"1", b"QMAIL_POPUP_": b"2", b"QMAIL_POPUP_X": b"3"}, {}, {}),
        (
            {b"QMAIL_POPUP": b"1", b"XQMAIL_POPUP_X": b"2"},
            {},
            {b"QMAIL_POPUP": b"1", b"XQMAIL_POPUP_X": b"2"},
        ),
        ({b"\xff": b"\xfe", b"": b"x"}, {}, {b"\xff": b"\xfe"}),
        ({b"LC_CTYPE": b"de_DE.UTF-8", b"LC_ALL": b"C"}, {}, {b"LC_CTYPE": b"de_DE.UTF-8", b"LC_ALL": b"C"}),
    ],
)
def test_the_environment(
    inherited: dict[bytes, bytes], told: dict[bytes, bytes], given: dict[bytes, bytes]
) -> None:
    """It is what was inherited and what the TLS server told, without the popup's own variables."""
    kept = dict(inherited)
    assert given == environment(inherited, told)
    assert kept == inherited


@pytest.mark.parametrize("coerced", ["C.UTF-8", "C.utf8", "UTF-8"])
@pytest.mark.parametrize("inherited", [None, "C.UTF-8", "C", ""])
def test_a_coerced_lc_ctype(coerced: str, inherited: str | None) -> None:
    """What CPython set in the C locale goes; what was there before it did so comes back."""
    start = {} if inherited is None else {"LC_CTYPE": inherited}
    script = (
        "import posix; from qmail_popup.subprogram import environment; "
        f"given = environment({{b'LC_CTYPE': b'{coerced}', b'A': b'1'}}, {{}}); "
        "posix.write(1, repr(given).encode())"
    )
    reader, writer = os.pipe()
    # A process of its own: the kernel shows the environment that one was started with.
    child = descriptors.start(
        ["/usr/bin/python3", "-S", "-c", script], {1: writer}, env={**start, "LC_MONETARY": "C", "B": "2"}
    )
    os.close(writer)
    told = descriptors.Line(reader, -1).receive_all()
    assert 0 == descriptors.wait(child)
    os.close(reader)
    assert (
        repr({b"A": b"1"} | {name.encode(): value.encode() for name, value in start.items()}).encode() == told
    )


def test_an_lc_ctype_that_comes_twice() -> None:
    """The first one holds, as it does of every other name."""
    told = (
        "import ctypes, os\n"
        "entries = (ctypes.c_char_p * 4)(b'LC_CTYPE=C', b'LC_CTYPE=de', b'PATH=/bin', None)\n"
        "words = [b'python3', b'-S', b'-c', os.environb[b'SCRIPT'], None]\n"
        "ctypes.CDLL(None).execve(b'/usr/bin/python3', (ctypes.c_char_p * 5)(*words), entries)\n"
    )
    script = (
        "from qmail_popup.subprogram import environment; "
        "print(environment({b'LC_CTYPE': b'C.UTF-8'}, {})[b'LC_CTYPE'])"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-S", "-c", told],
        cwd=CHECKOUT,
        env={"SCRIPT": script},
        capture_output=True,
        check=True,
    )
    assert b"b'C'\n" == done.stdout


def test_an_environment_that_the_kernel_does_not_show() -> None:
    """Without /proc, LC_CTYPE counts as CPython's own."""

    def task() -> dict[bytes, bytes]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # nothing can be opened
        return environment({b"LC_CTYPE": b"C.UTF-8", b"A": b"1"}, {})

    assert {b"A": b"1"} == run(task)
