"""A real systemd, as process 1 of its own namespaces, on a host with this project's units.

It is isolated: it has its own processes, mounts, network, host name, and control groups below one of ours.
/usr/local is an installed copy; changes in /etc are discarded; /run, /var/lib and /var/spool are empty,
except for tlswrapper's chroot directory. systemd-sysusers and systemd-tmpfiles create account and directories
from our files.
"""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import scraper
from tests.support.descriptors import CHECKOUT
from tests.support.mounts import is_chroot, namespace
from tests.support.programs import denied, need, unavailable
from tests.support.waiting import TIMEOUT, until

SOURCE = CHECKOUT / "deploy/systemd"
METRICS = "http://127.0.0.1:9110/metrics"
_SYSTEMD = Path("/lib/systemd/systemd")
_JOURNAL = ("systemd-journald.service", "systemd-journald.socket")
_TARGETS = ("sysinit", "basic", "sockets", "multi-user", "network", "shutdown")
_BOOT = "[Unit]\nDefaultDependencies=no\nRequires=basic.target systemd-journald.socket\n"
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

# $1: control group to enter, $2: script to run, then the command that creates the namespaces.
_ENTER = 'echo $$ >"$1/cgroup.procs"; script=$2; shift 2; exec "$@" sh -c "$script"'
# Becomes process 1. The journal must not read the kernel's messages, which belong to the real host.
_INIT = """
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/systemd/journald.conf.d /run/log/journal /run/etc/upper /run/etc/work
printf '[Journal]\\nReadKMsg=no\\n' >/run/systemd/journald.conf.d/test.conf
mount -t overlay none -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work /etc
test -s /etc/machine-id || echo 0123456789abcdef0123456789abcdef >/etc/machine-id
mount -t tmpfs none /var/lib
mount -t tmpfs none /var/spool
mkdir -p /var/lib/tlswrapper/empty
mount -t cgroup2 none /sys/fs/cgroup
mount -t overlay none -o lowerdir="$HELPERS:$LOCAL" /usr/local
cp -R "$UNITS" /run/units
systemd-sysusers /run/units/sysusers.d/qmail-popup.conf
systemd-tmpfiles --create /run/units/tmpfiles.d/qmail-popup.conf
exec env -i PATH="$PATH" container=test SYSTEMD_UNIT_PATH=/run/units SYSTEMD_GENERATOR_PATH=/run/none \
  /lib/systemd/systemd --unit=boot.target --log-target=journal --show-status=no
"""

# Connects on request from descriptor 0, and passes the socket back.
_DIAL = """
import socket, sys
asker = socket.socket(fileno=0)
while asker.recv(100):
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as peer:
            socket.send_fds(asker, [b"connected"], [peer.fileno()])
    except OSError as error:
        asker.send(str(error).encode())
"""


class Systemd:
    """A bootable host; leaving the context ends everything on it."""

    def __init__(self, directory: Path, prefix: Path) -> None:
        """directory: for its files; prefix: the installed copy."""
        self._namespaces = namespace()
        if not _SYSTEMD.exists():
            unavailable("systemd is not installed")
        if is_chroot():
            denied("this is a chroot: a namespace cannot be entered at its root")
        self._group = _control_groups() / f"qmail-popup-test.{os.getpid()}.{directory.name}"
        self._units = Path(shutil.copytree(SOURCE, directory / "units"))
        self._prefix, self._helpers = prefix, directory / "helpers"
        self._said = directory / "boot"
        self._unshare: subprocess.Popen[bytes] | None = None
        self._init = 0
        helper = self._helpers / "libexec/qmail-popup/tcp-environ"
        helper.parent.mkdir(parents=True)
        shutil.copy(SOURCE / helper.name, helper)
        for name in _JOURNAL:
            shutil.copy(_SYSTEMD.parent / "system" / name, self._units)
        for name in _TARGETS:
            (self._units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        (self._units / "boot.target").write_text(_BOOT)

    def edit(self, unit: str, text: str) -> None:
        """Before booting, add a drop-in, as `systemctl edit` does; later ones override earlier ones."""
        drop_ins = self._units / f"{unit}.d"
        drop_ins.mkdir(exist_ok=True)
        (drop_ins / f"{len(list(drop_ins.iterdir()))}.conf").write_text(text)

    def add(self, name: str, text: str) -> None:
        """Before booting, add a unit."""
        (self._units / name).write_text(text)

    def boot(self) -> Self:
        """Boot it, and wait until that is complete."""
        self._group.mkdir()
        spaces = [*self._namespaces, "--pid", "--fork", "--kill-child", "--mount-proc"]
        spaces += ["--uts", "--ipc", "--net", "--cgroup"]
        with self._said.open("wb") as said:
            self._unshare = subprocess.Popen(
                ["/bin/sh", "-c", _ENTER, "enter", self._group, _INIT, *spaces],
                env={
                    "PATH": _PATH,
                    "UNITS": str(self._units),
                    "LOCAL": str(self._prefix),
                    "HELPERS": str(self._helpers),
                },
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        until(self._has_booted)
        return self

    def _has_booted(self) -> bool:
        assert self._unshare
        assert self._unshare.poll() is None, f"it did not boot: {self._said.read_text()}"
        pid = self._unshare.pid
        self._init = int((Path(f"/proc/{pid}/task/{pid}/children").read_text().split() or ["0"])[0])
        if not self._init or not self.file("/run/systemd/private").is_socket():
            return False
        return self.try_run("systemctl", "start", "boot.target").returncode == 0  # waits until it has

    def try_run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command on it; it may fail."""
        return subprocess.run(
            [*need("nsenter"), f"--target={self._init}", "--all", *command],
            env={"PATH": _PATH},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )

    def run(self, *command: str | Path) -> str:
        """Run a command on it and return its output; AssertionError if it fails."""
        done = self.try_run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.journal()}"
        return done.stdout

    def journal(self, *options: str) -> list[str]:
        """Return the lines of the journal."""
        return self.try_run("journalctl", "--no-pager", "--output=cat", *options).stdout.splitlines()

    def property(self, unit: str, name: str) -> str:
        """Return a unit's property as shown by systemctl."""
        return self.run("systemctl", "show", unit, f"--property={name}", "--value").strip()

    def file(self, path: str) -> Path:
        """Return the path of one of its files outside its namespaces."""
        return Path(f"/proc/{self._init}/root{path}")

    @contextmanager
    def dialer(self, port: int) -> Iterator[Callable[[], socket.socket]]:
        """Yield a function that connects to a port inside its network, for use outside."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command: list[str | Path] = [
            *need("nsenter"),
            f"--target={self._init}",
            "--all",
            "python3",
            "-IS",
            "-c",
            _DIAL,
            str(port),
        ]
        lock = threading.Lock()

        def dial() -> socket.socket:
            with lock:
                ours.send(b"please")
                why, fds, _, _ = socket.recv_fds(ours, 4096, 1)
            if not fds:
                raise ConnectionError(why.decode())
            peer = socket.socket(fileno=fds[0])
            peer.settimeout(TIMEOUT)
            return peer

        with ours, subprocess.Popen(command, env={"PATH": _PATH}, stdin=theirs.fileno()):
            theirs.close()
            ours.settimeout(TIMEOUT)
            try:
                yield dial
            finally:
                ours.shutdown(socket.SHUT_RDWR)

    def numbers(self) -> scraper.Numbers:
        """Scrape the sidecar; OSError if it does not answer."""
        scraped = self.try_run("curl", "-sS", "-o", "/run/scraped", METRICS)
        if scraped.returncode:
            raise ConnectionError(scraped.stderr)
        return scraper.read(f"file://{self.file('/run/scraped')}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self._unshare:
            return
        self._unshare.kill()  # ends process 1, and so all others
        self._unshare.wait(TIMEOUT)
        until(self._is_gone)

    def _is_gone(self) -> bool:
        """Return whether its control groups could be removed: only after the last process has ended."""
        for path, _, _ in os.walk(self._group, topdown=False):
            with suppress(OSError):
                os.rmdir(path)
        return not self._group.exists()


def _control_groups() -> Path:
    """Return where cgroup v2 is mounted, or end the test."""
    rows = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = [Path(row[4]) for row in rows if row[row.index("-") + 1] == "cgroup2"]
    if not found or not os.access(found[0], os.W_OK):
        denied("no control groups of the second version can be made here")
    return found[0]
