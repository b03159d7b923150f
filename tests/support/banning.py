"""Debian's fail2ban with the filters of deploy/fail2ban, and sessions whose logs it reads."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.descriptors import CHECKOUT
from tests.support.installed import PYTHON
from tests.support.popup import REFUSES, Popup
from tests.support.programs import need
from tests.support.sidecar import RunningSidecar
from tests.support.waiting import until

JSON, RECORD = "qmail-popup", "qmail-popup-record"
"""The two filters."""

DEPLOY = CHECKOUT / "deploy/fail2ban"
_POPUP = (sys.executable, "-m", "qmail_popup")

# Does not touch the machine's own fail2ban: no firewall, database, socket or log.
_LOCAL = {
    "fail2ban.local": "[DEFAULT]\ndbfile = None\nlogtarget = {0}/log\n",
    "action.d/note.conf": "[Definition]\nactionban = echo <ip> >>{0}/banned\n",
    "jail.local": "[DEFAULT]\naction = note\nbackend = polling\n"
    "[qmail-popup]\nenabled = true\nlogpath = {0}/sidecar.stdout\n"
    "[qmail-popup-record]\nenabled = true\nlogpath = {0}/record\n",
}


class Session(NamedTuple):
    """A session to run, and the filters that should report it as a failed login."""

    ip: str
    found_by: tuple[str, ...]
    name: bytes = b"bob"
    host: bytes = b"client.example.org"
    subprogram: Sequence[str] = REFUSES
    env: tuple[tuple[bytes, bytes], ...] = ()


def held(session: Session, sidecar: RunningSidecar) -> bytes:
    """Run the session; return what it wrote on descriptor 5."""
    told = {"PATH": os.environ["PATH"], "QMAIL_POPUP_SIDECAR": str(sidecar.socket)}
    env = {name.encode(): value.encode() for name, value in told.items()}
    env |= {b"TCPREMOTEIP": session.ip.encode(), b"TCPREMOTEHOST": session.host, **dict(session.env)}
    with Popup(_POPUP, session.subprogram, env=env) as running:
        running.talk(b"USER %b\r\nPASS secret\r\n" % session.name)
        running.status()
        return b"".join(running.records())


Found = Callable[..., list[str]]
"""found(filter, lines, *options of fail2ban-regex): the addresses that a filter finds in lines, in order."""

# Runs a program for each line that names it, its arguments, and files for its output; prints its status.
# fail2ban-regex takes 0.3 s, nearly all for imports and regular expressions of dates: that is done here once.
_STARTER = """
import json, os, runpy, sys
from fail2ban.client.fail2banregex import exec_command_line
exec_command_line(["-o", "ip", "a line without a date", "^<HOST>$"])
for line in sys.stdin:
    out, errors, *argv = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    for fd, name in ((1, out), (2, errors)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")
    sys.exit(0)
"""


@contextmanager
def finder(directory: Path) -> Iterator[Found]:
    """Yield a function that runs fail2ban-regex, with its files in `directory`.

    With usedns=raw, a host name in the place of an address would be included.
    """
    (program,) = need("fail2ban-regex")
    log, out, errors = (directory / name for name in ("log", "out", "errors"))
    command = [PYTHON, "-c", _STARTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdin
        assert starter.stdout
        asks, statuses = starter.stdin, starter.stdout

        def found(name: str, lines: bytes, *options: str) -> list[str]:
            log.write_bytes(lines)
            argv = [program, "--usedns=raw", "-o", "ip", "-e", "utf-8", *options]
            argv += [str(log), str(DEPLOY / "filter.d" / f"{name}.conf")]
            print(json.dumps([str(out), str(errors), *argv]), file=asks, flush=True)
            assert ("0\n", "") == (statuses.readline(), errors.read_text())
            return out.read_text().split()

        yield found


@contextmanager
def fail2ban(directory: Path) -> Iterator[Path]:
    """Run fail2ban with both jails enabled on logs in `directory`; yield the file with its bans."""
    (server,) = need("fail2ban-server")
    config, log, banned = directory / "config", directory / "log", directory / "banned"
    shutil.copytree("/etc/fail2ban", config, ignore=shutil.ignore_patterns("*.d", "*.local"))
    (config / "action.d").mkdir()
    shutil.copytree(DEPLOY, config, dirs_exist_ok=True)
    for name, text in _LOCAL.items():
        (config / name).write_text(text.format(directory))
    for file in (log, banned, directory / "record"):
        file.touch()
    paths = ["-c", str(config), "-s", str(directory / "socket"), "-p", str(directory / "pid")]
    with subprocess.Popen([server, *paths, "-f", "start"], stdout=subprocess.DEVNULL) as running:
        try:
            until(lambda: 2 == log.read_text().count("' started") or running.poll() is not None)
            yield banned
        finally:
            running.terminate()
