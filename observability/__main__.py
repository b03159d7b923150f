"""The sidecar's program: argv and environment in, exit status out.

Decides what this process does: serve, inspect, push, or change one thing. assembly.py builds the sidecar.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing

from observability.arrivals import listener as listening
from observability.assembly import LAST_WORDS_SECONDS, sidecar
from observability.check.command import run as check
from observability.errors import UnusableError
from observability.log.messages import Messages, Stream, fill_standard_descriptors
from observability.pushgateway import group, push, pusher
from observability.pushgateway.failure import noted_from
from observability.settings import PROGRAM, Settings, parse
from observability.status.command import run as status
from observability.store.clocks import clocks
from observability.store.reset import reset
from qmail_popup import VERSION


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the sidecar until SIGTERM or SIGINT; return the exit status."""
    try:
        with noted_from(argv):
            settings = parse(argv, environ, VERSION)
    except UnusableError as error:
        _log_plainly("error", str(error))
        return 1
    fill_standard_descriptors()
    os.umask(0o077)
    if settings.once or settings.delete_group or settings.reset_state or any(settings.inspection):
        return _without_serving(settings, environ)
    with closing(Stream(2, LAST_WORDS_SECONDS)) as stderr, ExitStack() as stack:
        log = Messages(stderr, time.time, as_json=settings.json_log)
        try:
            intake, loop = sidecar(settings, environ, log, stack)
            listening.notify(environ, "READY=1")
            loop.run()
        except UnusableError as error:
            log("error", str(error))
            return 1
        listening.notify(environ, "STOPPING=1")
        intake.stop_listening()
        return 0 if loop.finish() else 1


def _without_serving(settings: Settings, environ: Mapping[str, str]) -> int:
    """Inspect, push once, delete the group, or move the state: in this thread, without opening a port."""
    if settings.inspection.check_config:
        return check(settings, environ, sys.stdout)
    if settings.inspection.status:
        return status(settings, sys.stdout)
    try:
        if settings.once:
            pusher.drop_privileges(settings.spool)
            pusher.run(settings, clocks(), _log_plainly)
        elif settings.reset_state:
            _log_plainly("info", reset(settings.state))
        else:
            push.remove(group.of_host(settings), time.monotonic)
    except UnusableError as error:
        _log_plainly("error", str(error))
        return 1
    return 0


def _log_plainly(_level: str, message: str) -> None:
    print(f"{PROGRAM}: {message}", file=sys.stderr)


def start() -> int:
    """Run main() as the console script."""
    return main(sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(start())
