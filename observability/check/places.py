"""The sidecar's files and directories: --socket, --spool, --state, --textfile, --read-log."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from observability.arrivals.directory import MODE as SPOOL_MODE
from observability.check.problem import May, Problem, directory, file, secret, status_of
from observability.errors import UnusableError
from observability.settings import Settings
from observability.store import locks, reading
from observability.store.presence import DIRECTORY_MODE

_MAX_SOCKET = 107  # bytes of a path: unix(7), without the NUL
_FOR_GROUP = 0o2070
_FOR_OTHERS = 0o007
_KEY_BYTES = 32
_BESIDE = (".lock", "-wal", "-shm", ".failed")


def is_running(settings: Settings) -> bool:
    """Whether a sidecar holds the store, so that its socket and port are rightly in use."""
    return locks.holder(settings.state) == locks.SIDECAR


def check_socket(settings: Settings, may: May) -> Iterator[Problem]:
    """Check where popups connect."""
    option, path = "--socket", settings.socket
    if len(os.fsencode(path)) > _MAX_SOCKET:
        yield Problem(
            option, path, f"a socket's path has {_MAX_SOCKET} bytes at most", "choose a shorter one"
        )
        return
    yield from directory(option, path.parent, may, DIRECTORY_MODE)
    status = status_of(path) if path.parent.is_dir() else None
    if status is None:
        return
    if not stat.S_ISSOCK(status.st_mode):
        yield Problem(option, path, "not a socket", "move it away, or choose another path")
    elif _answers(path) and not is_running(settings):
        yield Problem(option, path, "another program is listening on it", "stop it, or choose another path")


def check_spool(settings: Settings, may: May) -> Iterator[Problem]:
    """Check where popups leave events they cannot send."""
    option, path = "--spool", settings.spool
    found = list(directory(option, path, may, SPOOL_MODE))
    yield from found
    if found:
        return
    if not path.is_dir():
        yield from _must_be_there(settings, option, path, SPOOL_MODE)
        return
    mode = path.stat().st_mode
    if mode & _FOR_GROUP != _FOR_GROUP:
        wrong = f"its mode is {stat.S_IMODE(mode):04o}: popups of its group cannot leave events there"
        yield Problem(option, path, wrong, f"chmod 2770 {path}")
    if mode & _FOR_OTHERS:
        wrong = f"its mode is {stat.S_IMODE(mode):04o}: everybody can read it, and it contains user names"
        yield Problem(option, path, wrong, f"chmod o-rwx {path}")
    for name in ("spool", "lost", "pusher.lock"):
        yield from _spool_file(path / name, may)


def _spool_file(path: Path, may: May) -> Iterator[Problem]:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        yield Problem("--spool", path, "not a regular file, so it is ignored", f"remove it: rm {path}")
    elif not may(path, os.R_OK | os.W_OK):
        yield Problem("--spool", path, "this user may not read and write it", f"chmod 0660 {path}")


def check_state(settings: Settings, may: May) -> Iterator[Problem]:
    """Check the store, and the key beside it."""
    option, path = "--state", settings.state
    found = list(directory(option, path.parent, may, DIRECTORY_MODE))
    yield from found
    if found:
        return
    if not path.parent.is_dir():
        yield from _must_be_there(settings, option, path.parent, DIRECTORY_MODE)
    elif path.is_dir():
        yield Problem(option, path, "is a directory", "name a file in it")
    elif path.exists():
        yield from _store(settings, may)
    yield from _beside(path, may)
    if settings.user_names == "hash" and (settings.json_log or settings.otlp_spans):
        yield from _key(Path(f"{path}.key"), may)


def _store(settings: Settings, may: May) -> Iterator[Problem]:
    path = settings.state
    if not may(path, os.R_OK | os.W_OK):
        yield Problem("--state", path, "this user may not read and write it", f"chown USER {path}*")
    elif not settings.reset_state and path.stat().st_size:
        try:
            reading.read(path)
        except UnusableError as error:
            yield Problem("--state", path, str(error), "restore a backup, or start over with --reset-state")


def _beside(path: Path, may: May) -> Iterator[Problem]:
    """Check the files beside the store: a sidecar once started as root has left some that root owns."""
    for file_path in (Path(f"{path}{suffix}") for suffix in _BESIDE):
        if file_path.exists() and not may(file_path, os.R_OK | os.W_OK):
            yield Problem("--state", file_path, "this user may not read and write it", f"chown USER {path}*")


def _key(path: Path, may: May) -> Iterator[Problem]:
    if not path.exists():
        return
    found = list(secret("--state", path, may))
    yield from found
    if not found and path.stat().st_size < _KEY_BYTES:
        remedy = "remove it: a new key is made, and the hashes of names change"
        yield Problem("--state", path, "the key that hashes user names is too short", remedy)


def _must_be_there(settings: Settings, option: str, path: Path, mode: int) -> Iterator[Problem]:
    if settings.once:
        make = f"create it: install -d -m {mode:04o} -o USER -g GROUP {path}"
        yield Problem(option, path, "no such directory, and a pusher does not create it", make)


def check_textfile(settings: Settings, may: May) -> Iterator[Problem]:
    """Check the file for node_exporter."""
    if not (path := settings.textfile):
        return
    if not path.parent.is_dir():
        yield Problem("--textfile", path, "no such directory", "name the one that node_exporter reads")
    elif not may(path.parent, os.W_OK | os.X_OK):
        wrong = "this user may not write in its directory"
        yield Problem("--textfile", path, wrong, f"chgrp and chmod g+w {path.parent}")
    elif path.is_symlink() or (path.exists() and not path.is_file()):
        yield Problem("--textfile", path, "not a regular file", "move it away, or choose another name")


def check_logs(settings: Settings, may: May) -> Iterator[Problem]:
    """Check the logs to read."""
    for path in settings.read_log:
        if not path.is_dir():
            yield from file("--read-log", path, may)
        elif not may(path, os.R_OK | os.X_OK):
            yield Problem(
                "--read-log", path, "this user may not look into it", f"chgrp and chmod g+rx {path}"
            )
        elif (path / "current").exists():
            yield from file("--read-log", path / "current", may)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:  # a full backlog, or no permission to connect: something listens
            return True
    return True
