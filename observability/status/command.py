"""`--status`: the sidecar's state in a terminal, as JSON, or for a monitoring system.

Owns the exit status: 0 if something could be shown, 3 if no sidecar answers and no store can be read; with
thresholds, that of a monitoring plugin.
"""

import json
import signal
import sys
import time
from typing import Any, TextIO

from observability.errors import UnusableError
from observability.settings import PROGRAM, Settings
from observability.status import plugin, source, wrong
from observability.status.parts import METHODS
from observability.status.snapshot import DAY_MINUTES, HOUR_MINUTES, NOW_MINUTES, Logins, Snapshot, total
from observability.status.text import BLOCKS, PLAIN, text
from observability.store import families

INTERVAL = 2.0  # seconds
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


def run(settings: Settings, out: TextIO) -> int:
    """Show the state; return the exit status."""
    wanted = settings.inspection
    for number in (signal.SIGINT, signal.SIGPIPE):  # to end without a traceback
        signal.signal(number, signal.SIG_DFL)
    if wanted.warning or wanted.critical:
        status, lines = _judged(settings)
        _write(out, f"{lines}\n")
        return status
    status = _show(settings, out)
    while wanted.watch:
        time.sleep(INTERVAL)
        status = _show(settings, out)
    return status


def _judged(settings: Settings) -> tuple[int, str]:
    wanted = settings.inspection
    try:
        return plugin.judge(source.look(settings), wanted.warning, wanted.critical)
    except UnusableError as error:
        return plugin.unknown(str(error))


def _show(settings: Settings, out: TextIO) -> int:
    wanted = settings.inspection
    try:
        snapshot = source.look(settings)
    except UnusableError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return plugin.UNKNOWN
    where = source.url(settings) if snapshot.is_live else str(settings.state)
    if wanted.json:
        _write(out, f"{json.dumps({'source': where, **to_json(snapshot)})}\n")
    else:
        levels = BLOCKS if "utf" in (out.encoding or "").lower() else PLAIN
        _write(out, (_CLEAR if wanted.watch and out.isatty() else "") + text(snapshot, where, levels))
    return plugin.OK


def _write(out: TextIO, output: str) -> None:
    """Write text, replacing characters that the terminal's encoding lacks."""
    encoding = out.encoding or "ascii"
    out.write(output.encode(encoding, "replace").decode(encoding))
    out.flush()


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return what the terminal shows."""
    windows = {"5m": NOW_MINUTES, "1h": HOUR_MINUTES, "24h": DAY_MINUTES}
    return {
        "version": snapshot.version,
        "time": snapshot.now,
        "live": snapshot.is_live,
        "wrong": [each._asdict() for each in wrong.find(snapshot)],
        **plugin.measure(snapshot),
        "sessions_limit": snapshot.limit,
        "takes_commits": snapshot.takes_commits,
        "born": snapshot.born,
        "last_event": snapshot.last_event or None,
        "logins": {name: _logins(snapshot, minutes) for name, minutes in windows.items()},
    }


def _logins(snapshot: Snapshot, minutes: int) -> dict[str, Any]:
    sums = snapshot.added(minutes)
    methods = {
        f"{protocol} {method}": Logins.of(sums, method, protocol)._asdict() for protocol, method in METHODS
    }
    reasons = {each[0] for each in families.FAILURES.values}
    failures = {reason: total(sums, families.FAILURES.name, reason) for reason in sorted(reasons)}
    return {**Logins.of(sums)._asdict(), "by_method": methods, "by_reason": failures}
