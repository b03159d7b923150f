"""The checker and the POP3 server run by the popup: cvm and mailfront, or the demo's if they are missing.

Debian 12 has both packages and Debian 13 neither, so there tests use deploy/demo/.
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
"""Debian's Python, which other users can run."""

_CVM = ("cvm-checkpassword", "cvm-pwfile")
_MAILFRONT = "pop3front-maildir"

HAS_CVM = all(find(name) for name in _CVM)
HAS_MAILFRONT = find(_MAILFRONT) is not None

REFUSED = "other" if HAS_CVM else "1"
"""The label of a wrong password's exit status: 100 from cvm-checkpassword, 1 from the demo's checker."""


def checker(passwords: Path) -> tuple[list[str], dict[str, str]]:
    """Return a checker for a file of `maildir.pwfile`, and the environment that it needs."""
    if HAS_CVM:
        return [*need(*_CVM)], {"CVM_PWFILE_PATH": str(passwords), "CVM_ACCOUNT_SPLIT_CHARS": ""}
    return [*PYTHON, demo_program("checkpassword.py"), str(passwords)], {}


def pop3_server() -> list[str]:
    """Return a POP3 server for the Maildir in the current directory."""
    if HAS_MAILFRONT:  # it logs to descriptor 2, which is the client's connection
        return ["/bin/sh", "-c", 'exec "$0" Maildir 2>/dev/null', *need(_MAILFRONT)]
    return [*PYTHON, demo_program("pop3.py"), "Maildir"]


@cache
def demo_program(name: str) -> str:
    """Return a world-readable copy of a demo program: the checkout may be in root's home."""
    directory = tempfile.mkdtemp(prefix="demo-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.chmod(directory, 0o755)  # noqa: S103  it contains only this file
    copied = shutil.copy(CHECKOUT / "deploy/demo" / name, directory)
    os.chmod(copied, 0o644)
    return copied


def pop3_server_line() -> str:
    """Return the same as a shell command, as in POP3_SERVER of deploy/."""
    if HAS_MAILFRONT:
        return f"exec {need(_MAILFRONT)[0]} Maildir 2>/dev/null 5>&-"
    return f"exec {' '.join(pop3_server())} 5>&-"
