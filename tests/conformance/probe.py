"""The subprogram of the vectors, in place of checkpassword (started by `probe`).

Reads descriptor 3 to the end, saves what it saw, then does what PROBE_DO says:
  exit:N      exit with status N
  signal:N    die of signal N
  slow:N      wait for a second, then exit with status N
  say:TEXT    write TEXT and CRLF to descriptor 1, then exit 0
  err:TEXT    write TEXT and CRLF to descriptor 2, then exit 1
  noread      exit 0 without reading descriptor 3
  stdin       save what descriptor 0 still holds, up to its end, then exit 0
Saved in the file named by PROBE_OUT, as a literal of Python: arguments, bytes of descriptor 3 (latin-1), open
descriptors, ignored and blocked signals, and the environment as `probe` was started with it.
It runs once for each vector and form, so it imports next to nothing: an import costs more than all it does.
"""

import os
import sys
import time

TYPE_CHECKING = False  # as typing has it; which is such an import
if TYPE_CHECKING:
    from collections.abc import Callable


def read_all(fd: int) -> str:
    """Return what `fd` holds up to its end."""
    return b"".join(iter(lambda: os.read(fd, 65536), b"")).decode("latin-1")


def seen(do: str, out: str) -> dict[str, object]:
    """Look around."""
    fds = sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}"))
    return {
        "argv": sys.argv[1:],
        "fd3": "" if do == "noread" else read_all(3),
        "fds": fds,
        "rest": read_all(0) if do == "stdin" else "",
        "ignored": int(os.environ["PROBE_SIGIGN"], 16),
        "blocked": int(os.environ["PROBE_SIGBLK"], 16),
        "env": read_file(out + ".env").split("\0")[:-1],
    }


def read_file(path: str) -> str:
    """Return what is in a file."""
    with open(path, encoding="latin-1", newline="") as file:
        return file.read()


def save(out: str, what: dict[str, object]) -> None:
    """Save whole or not at all: the test may look at any time."""
    with open(out + ".new", "w", encoding="ascii") as file:
        file.write(ascii(what))
    os.rename(out + ".new", out)


def die(number: int) -> int:
    """Die of a signal, leaving no core."""
    import resource
    import signal

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


DEEDS: "dict[str, Callable[[str], int]]" = {
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
