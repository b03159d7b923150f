"""The sidecar's program: argv and environment in, exit status out.

Decides what this process does: serve, inspect, push, or change one thing. assembly.py builds the sidecar. The
command line comes first, and each of these imports only what it needs: a mistake is answered at once, and a
pusher does not load a server.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager

from observability.errors import UnusableError, describe
from observability.log.messages import Messages, Stream, fill_standard_descriptors
from observability.pushgateway.failure import noted_from
from observability.settings import PROGRAM, Settings, parse
from qmail_popup import VERSION

_LAST_WORDS_SECONDS = 2.0  # for a slow reader of descriptor 2


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the sidecar until SIGTERM or SIGINT; return the exit status."""
    try:
        with noted_from(argv):
            settings = parse(argv, environ, VERSION)
        gc.disable()  # there is no garbage yet: looking for it is a twentieth of the start
        return _run(settings, environ)
    except UnusableError as error:
        _log_plainly("error", str(error))
        return 1


def _run(settings: Settings, environ: Mapping[str, str]) -> int:
    if settings.inspection.check_config:
        return _check(settings, environ)
    if settings.inspection.status:
        return _status(settings)
    if settings.once:
        return _push(settings)
    if settings.reset_state or settings.delete_group:
        return _remove(settings)
    return _serve(settings, environ)


def _prepare() -> None:
    """Prepare the process for its work, after the imports: others may read what these cache."""
    gc.freeze()  # modules stay: searching them, last at the end, is a sixth of a start and stop
    gc.enable()
    fill_standard_descriptors()
    os.umask(0o077)


def _check(settings: Settings, environ: Mapping[str, str]) -> int:
    from observability.check.command import run

    _prepare()
    return run(settings, environ, sys.stdout)


def _status(settings: Settings) -> int:
    from observability.status.command import run

    _prepare()
    return run(settings, sys.stdout)


def _push(settings: Settings) -> int:
    """Count and push what is in the spool, in this thread and without opening a port."""
    from observability.pushgateway import pusher
    from observability.store.clocks import clocks

    _prepare()
    pusher.drop_privileges(settings.spool)
    pusher.run(settings, clocks(), _log_plainly)
    return 0


def _remove(settings: Settings) -> int:
    """Move the state aside, or delete the group from the gateway."""
    from observability.pushgateway import group, push
    from observability.store.reset import reset

    _prepare()
    if settings.reset_state:
        _log_plainly("info", reset(settings.state))
    else:
        push.remove(group.of_host(settings), time.monotonic)
    return 0


def _serve(settings: Settings, environ: Mapping[str, str]) -> int:
    from observability.arrivals import listener
    from observability.assembly import sidecar

    _prepare()
    with _starting():
        stderr = Stream(2, _LAST_WORDS_SECONDS)
    with closing(stderr), ExitStack() as stack:
        log = Messages(stderr, time.time, as_json=settings.json_log)
        try:
            with _starting():
                intake, loop = sidecar(settings, environ, log, stack)
            listener.notify(environ, "READY=1")
            loop.run()
        except UnusableError as error:
            log("error", str(error))
            return 1
        listener.notify(environ, "STOPPING=1")
        intake.stop_listening()
        return 0 if loop.finish() else 1


@contextmanager
def _starting() -> Iterator[None]:
    """Raise UnusableError if the system has too few descriptors or threads, or no disk space, to start."""
    from sqlite3 import Error

    try:
        yield
    except (OSError, RuntimeError, Error) as error:
        raise UnusableError(f"cannot start: {describe(error)}") from error


def _log_plainly(_level: str, message: str) -> None:
    print(f"{PROGRAM}: {message}", file=sys.stderr)


def start() -> int:
    """Run main() as the console script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it was not ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the sidecar handles it: no traceback
    return main(sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(start())
