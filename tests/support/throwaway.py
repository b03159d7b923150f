"""A throwaway root directory: a private, writable copy of this machine's file system.

It is an in-memory overlay over the machine's root, in its own mount namespace, entered by chroot. So the real
dpkg can install, run and purge packages without affecting the machine. A root can start from the contents of
another.
"""

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.mounts import namespace
from tests.support.programs import denied, need
from tests.support.waiting import TIMEOUT

# /run is empty, so the machine's service manager cannot be reached through it.
_MOUNT = """\
set -e
cd "$1"
mount -t tmpfs none .
cd "$1"
mkdir upper work root
[ -z "$2" ] || cp -a "$2/upper/." upper
mount -t overlay none -o lowerdir=/,upperdir=upper,workdir=work root
mount -t proc none root/proc
mount --bind /dev root/dev
mount -t tmpfs -o mode=755 none root/run
mount -t tmpfs -o mode=1777 none root/tmp
[ -z "$2" ] || cp -a "$2/root/run/." root/run
echo ready
exec cat
"""


class ThrowAwayRoot:
    """The root directory; leaving the context removes it."""

    def __init__(self, directory: Path, begun: "ThrowAwayRoot | None" = None) -> None:
        """Mount it in `directory`, with the contents of `begun`; ends the test if that is impossible."""
        enter, chroot = need("nsenter", "chroot")
        before = str(begun.path.parent) if begun else ""
        command = [*namespace(), "sh", "-c", _MOUNT, "sh", str(directory), before]
        pipe = subprocess.PIPE
        self._holder = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self._holder.stdout
        if self._holder.stdout.readline() != "ready\n":
            denied(f"no overlay of the root file system: {self._holder.communicate()[1]}")
        seen = Path(f"/proc/{self._holder.pid}/root{directory}")
        self.path: Path = seen / "root"
        self._upper = seen / "upper"
        self._command = [enter, f"--mount=/proc/{self._holder.pid}/ns/mnt", chroot, str(directory / "root")]
        if reason := self._useless():
            self._holder.communicate()  # ends the process, and with it the mounts
            denied(reason)

    def command(self, *command: str) -> list[str]:
        """Return a command line that runs a command in the root."""
        return [*self._command, *command]

    def run(self, *command: str) -> str:
        """Run a command in the root, which must succeed; return its output."""
        done = subprocess.run(
            self.command(*command),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=4 * TIMEOUT,
            check=False,
        )
        assert 0 == done.returncode, done.stdout
        return done.stdout

    def take(self, file: Path) -> str:
        """Copy a file into the root; return its path there."""
        shutil.copy(file, self.path / "tmp")
        return f"/tmp/{file.name}"  # noqa: S108  the root's own /tmp

    def new(self) -> set[str]:
        """Return the files that were added."""
        return {path for path in self._touched() if not os.path.lexists(path)}

    def gone(self) -> set[str]:
        """Return the files that were removed."""
        return {path for path in self._touched() if not os.path.lexists(f"{self.path}{path}")}

    def _touched(self) -> set[str]:
        return {f"/{path.relative_to(self._upper)}" for path in self._upper.rglob("*")}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._holder.stdin
        self._holder.communicate()

    def _useless(self) -> str:
        """Return why the root cannot be used; empty if it can."""
        if not (self.path / "var/lib/dpkg/status").exists():
            return "the root file system is not in one piece"
        if subprocess.run(self.command("true"), capture_output=True, check=False).returncode:
            return "this is a chroot: a namespace cannot be entered at its root"
        return ""
