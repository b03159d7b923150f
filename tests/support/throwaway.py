"""A root directory to throw away: this machine as it is, and what happens there is seen by nobody else.

An overlay of the machine's root file system, in memory, in a mount namespace of its own, entered by chroot.
So packages are installed, run and purged by the real dpkg, and the machine has never heard of them. What was
done in one of them others can begin with.
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

# /run is empty, so no service manager of the machine is reached through it.
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
    """The root directory; leaving the context lets go of it."""

    def __init__(self, directory: Path, begun: "ThrowAwayRoot | None" = None) -> None:
        """Mount it in `directory`, as `begun` is by now; the test ends where that cannot be done."""
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
            self._holder.communicate()  # which ends it, and with it the mounts
            denied(reason)

    def command(self, *command: str) -> list[str]:
        """Return the command line that runs a command there."""
        return [*self._command, *command]

    def run(self, *command: str) -> str:
        """Run a command there that is to succeed; what it said."""
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
        """Copy a file there; its path for commands."""
        shutil.copy(file, self.path / "tmp")
        return f"/tmp/{file.name}"  # noqa: S108  the root's own

    def new(self) -> set[str]:
        """Return what is there and not on the machine."""
        return {path for path in self._touched() if not os.path.lexists(path)}

    def gone(self) -> set[str]:
        """Return what is on the machine and not there any more."""
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
        """Return why nothing can be done there; nothing where all is well."""
        if not (self.path / "var/lib/dpkg/status").exists():
            return "the root file system is not in one piece"
        if subprocess.run(self.command("true"), capture_output=True, check=False).returncode:
            return "this is a chroot: a namespace cannot be entered at its root"
        return ""
