"""The subprogram of the vectors, in place of checkpassword (started by `probe`).

Reads descriptor 3 to the end, saves what it saw, then does what PROBE_DO says:
  exit:N      exit with status N
  signal:N    die of signal N
  slow:N      wait for a second, then exit with status N
  say:TEXT    write TEXT and CRLF to descriptor 1, then exit 0
  err:TEXT    write TEXT and CRLF to descriptor 2, then exit 1
  noread      exit 0 without reading descriptor 3
  stdin       save what descriptor 0 still holds, up to its end, then exit 0
Saved as JSON in the file named by PROBE_OUT: arguments, bytes of descriptor 3 (latin-1), open descriptors,
ignored and blocked signals, and the environment as `probe` was started with it.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path


def read_all(fd: int) -> str:
    """Return what `fd` holds up to its end."""
    return b"".join(iter(lambda: os.read(fd, 65536), b"")).decode("latin-1")


def seen(do: str, out: str) -> dict[str, object]:
    """Look around."""
    fds = sorted(int(n) for n in os.listdir("/proc/self/fd") if Path("/proc/self/fd", n).exists())
    return {
        "argv": sys.argv[1:],
        "fd3": "" if do == "noread" else read_all(3),
        "fds": fds,
        "rest": read_all(0) if do == "stdin" else "",
        "ignored": int(os.environ["PROBE_SIGIGN"], 16),
        "blocked": int(os.environ["PROBE_SIGBLK"], 16),
        "env": Path(out + ".env").read_text(encoding="latin-1").split("\0")[:-1],
    }


def save(out: str, what: dict[str, object]) -> None:
    """Save whole or not at all: the test may look at any time."""
    Path(out + ".new").write_text(json.dumps(what), encoding="ascii")
    Path(out + ".new").rename(out)


def die(number: int) -> int:
    """Die of a signal, leaving no core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 0


def wait(status: int) -> int:
    """Exit later."""
    time.sleep(1)
    return status


def write(fd: int, text: str, status: int) -> int:
    """Write a line, then exit."""
    os.write(fd, text.encode("latin-1") + b"\r\n")
    return status


DEEDS: dict[str, Callable[[str], int]] = {
    "exit": int,
    "slow": lambda status: wait(int(status)),
    "signal": lambda number: die(int(number)),
    "say": lambda text: write(1, text, 0),
    "err": lambda text: write(2, text, 1),
    "noread": lambda _: 0,
    "stdin": lambda _: 0,
}


def main() -> int:
    """Look around, save it, do as told."""
    do, out = os.environ["PROBE_DO"], os.environ["PROBE_OUT"]
    save(out, seen(do, out))
    kind, _, argument = do.partition(":")
    return DEEDS[kind](argument)


if __name__ == "__main__":
    os._exit(main())
