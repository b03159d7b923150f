"""What the first process tells a service manager, if there is one: sd_notify(3), over NOTIFY_SOCKET."""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

READY, STOPPING = "READY=1", "STOPPING=1"
Notify = Callable[[str], None]


def notifier(environ: Mapping[bytes, bytes]) -> Notify:
    """Return what sends a state to the manager that the environment names, or to nobody."""
    address = environ.get(b"NOTIFY_SOCKET", b"")
    if not address.startswith((b"/", b"@")):
        return lambda _state: None
    if address.startswith(b"@"):  # the abstract namespace
        address = b"\0" + address[1:]
    return lambda state: _send(address, state)


def reloading() -> str:
    """Return the state of who reads its configuration again; systemd wants to know since when."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def status(text: str) -> str:
    """Return a line for people; the state is what it was before."""
    return f"STATUS={text}"


def _send(address: bytes, state: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, suppress(OSError):
        manager.settimeout(0)  # a manager that does not listen is no reason not to serve
        manager.sendto(state.encode(), address)
