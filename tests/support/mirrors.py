"""A mirror without a popup, and a session for it to report."""

import os
import signal
from pathlib import Path

from observability.mirror import Mirror
from qmail_popup.session import Session
from qmail_popup.settings import Settings


def mirror(spool: Path, sidecar: Path | None = None) -> Mirror:
    """Return a mirror, as configured by the environment."""
    told = {b"QMAIL_POPUP_SPOOL": os.fsencode(spool)}
    if sidecar:
        told[b"QMAIL_POPUP_SIDECAR"] = os.fsencode(sidecar)
    return Mirror(Settings([b"pop.example.org", b"/bin/true"], told))


def over() -> Session:
    """Return a session of which only the beginning is known."""
    return Session(Settings([b"h", b"/bin/true"], {}), {}, pid=7, clock=lambda: 1, log=None)


def whole_session(spool: Path, sidecar: Path | None = None) -> None:
    """Report a session to a sidecar or spool; cancels the alarm, which would kill the test."""
    told = mirror(spool, sidecar)
    told.hello(over())
    told.finish(over(), lambda: None)
    signal.setitimer(signal.ITIMER_REAL, 0)
