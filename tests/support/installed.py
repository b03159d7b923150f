"""An installed copy: its files, and whether it works."""

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.descriptors import CHECKOUT
from tests.support.popup import LOGIN, Popup, shell

PYTHON = "/usr/bin/python3"
STARTER = "bin/qmail-popup"
LIB = "lib/qmail-popup"


def works(
    command: Sequence[str | Path], cwd: Path = CHECKOUT, prepare: Callable[[], None] | None = None
) -> None:
    """Check one accepted and one refused login through `command`."""
    words = [os.fspath(word) for word in command]
    with Popup(words, shell("cat <&3 >/dev/null; exit 1"), cwd=cwd, prepare=prepare) as popup:
        assert b"+OK\r\n+OK \r\n-ERR authorization failed\r\n" == popup.talk(LOGIN)
        assert (1, b"", [popup.record("Reject")]) == (popup.status(), popup.errors(), popup.records())
    with Popup(words, cwd=cwd, prepare=prepare) as popup:
        assert (b"+OK\r\n+OK \r\n", 0) == (popup.talk(LOGIN), popup.status())


def sidecar_works(prefix: Path, cwd: Path = CHECKOUT) -> None:
    """Run the sidecar's --version, for which it imports everything it needs."""
    done = subprocess.run(
        [prefix / "bin/qmail-popup-sidecar", "--version"], cwd=cwd, capture_output=True, check=False
    )
    assert (0, b"") == (done.returncode, done.stderr)
    assert done.stdout.startswith(b"qmail-popup")


def files(prefix: Path) -> dict[str, bytes]:
    """Return all files below `prefix`."""
    return {str(file.relative_to(prefix)): file.read_bytes() for file in prefix.rglob("*") if file.is_file()}


def unreadable(prefix: Path) -> list[Path]:
    """Return the files that are not world-readable."""
    return [path for path in prefix.rglob("*") if path.stat().st_mode & 0o444 != 0o444]
