"""Starts a pusher, from the one popup that found none running; only that one imports this.

Owns what the pusher gets from the session: the lock, as descriptor 0, and nothing else. No other descriptor
(a client's socket would not close), no terminal, no variable of the session's environment but those that
say which authorities TLS is to trust.
"""

import posix
import sys
from posixpath import dirname, realpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SIDECAR = "/qmail-popup-sidecar"
_MODULE = "/qmail_popup/__main__.py"
_TRUST = (b"SSL_CERT_FILE", b"SSL_CERT_DIR")
_NULL = "/dev/null"


def launch(lock: int, program: str, options: "Mapping[bytes, bytes]") -> None:
    """Start a pusher that holds `lock`; OSError. Closes all other descriptors of this process: it is to end.

    program: argv[0] of this process; options: the pusher's.
    """
    command, environ = _command(realpath(program))
    told = [b"%s=%s" % option for option in options.items()]
    _close_all_but(lock)
    actions = (
        (posix.POSIX_SPAWN_DUP2, lock, 0),
        (posix.POSIX_SPAWN_OPEN, 1, _NULL, posix.O_WRONLY, 0),
        (posix.POSIX_SPAWN_OPEN, 2, _NULL, posix.O_WRONLY, 0),
    )
    posix.posix_spawn(
        command[0], [*command, "--once", *told], environ, file_actions=actions, setsid=True, setsigmask=()
    )


def _close_all_but(lock: int) -> None:
    """Close what there is, which may be above a limit that was lowered since."""
    try:
        numbers = [int(name) for name in posix.listdir("/proc/self/fd")]
    except OSError:
        numbers = list(range(posix.sysconf("SC_OPEN_MAX")))
    for fd in numbers:
        try:
            if fd != lock:
                posix.close(fd)
        except OSError:  # the one that listed them
            pass


def _command(program: str) -> "tuple[list[str | bytes], dict[bytes, bytes]]":
    """Return the command and the environment of the sidecar's program that belongs to `program`."""
    environ = {name: value for name, value in posix.environ.items() if name in _TRUST}
    if not program.endswith(_MODULE):
        return [dirname(program) + _SIDECAR], environ  # installed: the two stand side by side
    environ[b"PYTHONPATH"] = dirname(dirname(program)).encode(errors="surrogateescape")
    return [sys.executable, "-m", "observability"], environ
