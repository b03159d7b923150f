"""Reports the supervisor's state to a service manager, if any: sd_notify(3) over NOTIFY_SOCKET."""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

READY, STOPPING = "READY=1", "STOPPING=1"
Notify = Callable[[str], None]


def notifier(environ: Mapping[bytes, bytes]) -> Notify:
    """Return a function that sends a state to the service manager; without one it does nothing."""
    address = environ.get(b"NOTIFY_SOCKET", b"")
    if not address.startswith((b"/", b"@")):
        return lambda _state: None
    if address.startswith(b"@"):  # the abstract namespace
        address = b"\0" + address[1:]
    return lambda state: _send(address, state)


def reloading() -> str:
    """Return the state for a reload; systemd requires the time."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def status(text: str) -> str:
    """Return a status line for `systemctl status`; leaves the state as it is."""
    return f"STATUS={text}"


def _send(address: bytes, state: str) -> None:
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(0)  # never block on the manager
        manager.sendto(state.encode(), address)
