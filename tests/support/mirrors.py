"""A mirror without a popup around it, and a session for it to tell of."""

import os
import signal
from pathlib import Path

from observability.mirror import Mirror
from qmail_popup.session import Session
from qmail_popup.settings import Settings


def mirror(spool: Path, sidecar: Path | None = None) -> Mirror:
    """Return one, as the environment would have set it up."""
    told = {b"QMAIL_POPUP_SPOOL": os.fsencode(spool)}
    if sidecar:
        told[b"QMAIL_POPUP_SIDECAR"] = os.fsencode(sidecar)
    return Mirror(Settings([b"pop.example.org", b"/bin/true"], told))


def over() -> Session:
    """Return a session of which nothing is known but its beginning."""
    return Session(Settings([b"h", b"/bin/true"], {}), {}, pid=7, clock=lambda: 1, log=None)


def whole_session(spool: Path, sidecar: Path | None = None) -> None:
    """Tell a sidecar of a session, or leave it in the spool; a test lives on, so without the alarm."""
    told = mirror(spool, sidecar)
    told.hello(over())
    told.finish(over(), lambda: None)
    signal.setitimer(signal.ITIMER_REAL, 0)
