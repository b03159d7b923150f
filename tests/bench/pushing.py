"""The on-demand pusher's measurement: what a session costs where one runs already."""

import tempfile
from contextlib import closing
from pathlib import Path

from observability.store.locks import PusherLock
from tests.bench.cost import METHOD, measure

COST_MOST = 1.05


def run(prefix: Path) -> list[str]:
    """Measure the product that is installed at `prefix`; return a line for each figure."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-spool-") as scratch,
        closing(PusherLock(Path(scratch))) as turn,
    ):
        if not turn.take():
            raise RuntimeError("somebody else has the turn")
        environ = {"QMAIL_POPUP_PUSHGATEWAY": "http://127.0.0.1:9091", "QMAIL_POPUP_SPOOL": scratch}
        cost = measure(prefix, {"on": environ})
    return [
        (
            f"CPU of a session, of the bare interpreter's {cost['bare']:.2f} ms: {cost['on']:.3f} "
            f"where a pusher runs (at most {COST_MOST:.2f}; {METHOD})"
        )
    ]
