"""Finds real programs for tests, and skips or fails a test that lacks one.

On a developer's machine the test is skipped, with the missing program as the reason. CI must have all of
them: a test that is silently skipped there proves nothing, so it fails.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

# Debian installs daemons and mail front ends in sbin, which is not in an ordinary user's PATH.
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def find(name: str, path: str | None = None) -> str | None:
    """Find a program in PATH (or `path`), then in the sbin directories; None if missing."""
    search = os.environ.get("PATH", os.defpath) if path is None else path
    return shutil.which(name, path=os.pathsep.join((search, *SBIN)))


def need(*names: str) -> tuple[str, ...]:
    """Return the absolute paths of the programs; if one is missing, skip the test, or fail it in CI."""
    found = {name: find(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        unavailable(f"not installed: {', '.join(missing)}")
    return tuple(os.path.abspath(path) for path in found.values() if path is not None)


def need_root() -> None:
    """Skip the test, or fail it in CI, unless run as root."""
    if os.geteuid() != 0:
        unavailable("needs root")


def need_shared(path: Path) -> None:
    """Skip the test if other users cannot access a file: the checkout may be in root's home."""
    closed = [place for place in (path, *path.parents) if not place.stat().st_mode & 0o001]
    if closed:
        pytest.skip(f"other users may not enter {closed[-1]}")


def environ_without_make() -> dict[str, str]:
    """Return our environment without the variables that make sets for its children."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def denied(reason: str) -> None:
    """Skip the test, even in CI: the kernel or container does not permit what it needs."""
    pytest.skip(reason)


def unavailable(reason: str, environ: Mapping[str, str] = os.environ) -> None:
    """End the test because this machine lacks something: skip it, or fail it if CI=true."""
    if environ.get("CI") == "true":
        pytest.fail(f"CI has to be able to run this test: {reason}", pytrace=False)
    pytest.skip(reason)
