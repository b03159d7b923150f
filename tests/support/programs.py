"""Real programs for tests: where they are, or why the test cannot run without them.

A developer's machine may lack some; there the test is skipped and says what is missing. CI has to have all
of them: a test that quietly does not run there proves nothing, so it fails.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

# Debian keeps daemons and mail front ends in sbin, which is in no ordinary user's PATH.
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def find(name: str, path: str | None = None) -> str | None:
    """Look a program up in PATH (or in `path`), then in the sbin directories; None where there is none."""
    search = os.environ.get("PATH", os.defpath) if path is None else path
    return shutil.which(name, path=os.pathsep.join((search, *SBIN)))


def need(*names: str) -> tuple[str, ...]:
    """Return the absolute paths of the programs; without one of them the test is skipped, or fails in CI."""
    found = {name: find(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        unavailable(f"not installed: {', '.join(missing)}")
    return tuple(os.path.abspath(path) for path in found.values() if path is not None)


def need_root() -> None:
    """Skip the test, or fail in CI, unless it runs as root."""
    if os.geteuid() != 0:
        unavailable("needs root")


def need_shared(path: Path) -> None:
    """Skip the test where other users cannot get at a file: a checkout may be in root's own home."""
    closed = [place for place in (path, *path.parents) if not place.stat().st_mode & 0o001]
    if closed:
        pytest.skip(f"other users may not enter {closed[-1]}")


def environ_without_make() -> dict[str, str]:
    """Return our environment without what the make that runs the tests means for its own children."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def denied(reason: str) -> None:
    """End the test: the kernel, or the container, grants nobody here what it takes. Skipped everywhere."""
    pytest.skip(reason)


def unavailable(reason: str, environ: Mapping[str, str] = os.environ) -> None:
    """End the test: this machine lacks something. Skipped on a developer's machine, failed where CI=true."""
    if environ.get("CI") == "true":
        pytest.fail(f"CI has to be able to run this test: {reason}", pytrace=False)
    pytest.skip(reason)
