"""The checker and the POP3 server behind the popup: cvm and mailfront, or the demo's where there are none.

Debian 12 has both packages and Debian 13 neither, so there the chains of the tests end in deploy/demo/.
"""

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tests.support.descriptors import CHECKOUT
from tests.support.programs import find, need

PYTHON = ("/usr/bin/python3", "-IS")
"""Debian's, which another user may run, too."""

_CVM = ("cvm-checkpassword", "cvm-pwfile")
_MAILFRONT = "pop3front-maildir"

HAS_CVM = all(find(name) for name in _CVM)
HAS_MAILFRONT = find(_MAILFRONT) is not None

REFUSED = "other" if HAS_CVM else "1"
"""A wrong password's status, as a metric's label: cvm-checkpassword says 100, the demo's checker 1."""


def checker(passwords: Path) -> tuple[list[str], dict[str, str]]:
    """Return what checks passwords against a file of `maildir.pwfile`, and the environment that it wants."""
    if HAS_CVM:
        return [*need(*_CVM)], {"CVM_PWFILE_PATH": str(passwords), "CVM_ACCOUNT_SPLIT_CHARS": ""}
    return [*PYTHON, demo_program("checkpassword.py"), str(passwords)], {}


def pop3_server() -> list[str]:
    """Return what serves the Maildir of the directory that it is started in."""
    if HAS_MAILFRONT:  # it logs to descriptor 2, which is the network
        return ["/bin/sh", "-c", 'exec "$0" Maildir 2>/dev/null', *need(_MAILFRONT)]
    return [*PYTHON, demo_program("pop3.py"), "Maildir"]


@cache
def demo_program(name: str) -> str:
    """Return a copy of a program of the demo that every user may read: the checkout may be in root's home."""
    directory = tempfile.mkdtemp(prefix="demo-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.chmod(directory, 0o755)  # noqa: S103  there is nothing in it but this
    copied = shutil.copy(CHECKOUT / "deploy/demo" / name, directory)
    os.chmod(copied, 0o644)
    return copied


def pop3_server_line() -> str:
    """Return the same as a line for a shell, as POP3_SERVER of deploy/ holds it."""
    if HAS_MAILFRONT:
        return f"exec {need(_MAILFRONT)[0]} Maildir 2>/dev/null 5>&-"
    return f"exec {' '.join(pop3_server())} 5>&-"
