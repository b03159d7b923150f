"""All checks and their output: a line per problem, or a short summary.

Changes and starts nothing; what has to be tried (a port, a gateway) is closed at once.
"""

import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import TextIO

from observability.check import network, places
from observability.check.problem import May, Problem, may
from observability.settings import PROGRAM, Settings

Check = Callable[[Settings, May], Iterator[Problem]]

# By the option they mostly concern.
_ALWAYS: Mapping[str, Check] = MappingProxyType(
    {"--spool": places.check_spool, "--state": places.check_state, "--push": network.check_push}
)
_SERVED: Mapping[str, Check] = MappingProxyType(
    {
        "--socket": places.check_socket,
        "--textfile": places.check_textfile,
        "--read-log": places.check_logs,
        "--listen": network.check_listen,
        "--tls-cert": network.check_tls,
        "--sessions-limit": network.check_limits,
    }
)


def run(settings: Settings, environ: Mapping[str, str], out: TextIO) -> int:
    """Print what is wrong; return the exit status."""
    found = list(problems(settings, environ, may))
    for problem in found:
        out.write(f"{PROGRAM}: {problem}\n")
    if not found:
        out.write(_summary(settings))
    return 1 if found else 0


def problems(settings: Settings, environ: Mapping[str, str], may: May) -> Iterator[Problem]:
    """Yield what would keep a sidecar with these settings from working. may: this user's permissions."""
    otlp: Check = partial(_otlp, environ)
    checks = _ALWAYS if settings.once else {**_ALWAYS, **_SERVED, "--otlp": otlp}
    for option, check in checks.items():
        try:
            yield from check(settings, may)
        except OSError as error:  # e.g. for a directory on the path that this user may not search
            subject = error.filename or "(path not reported)"
            yield Problem(
                option, subject, error.strerror or str(error), "name a path that this user can reach"
            )


def _otlp(environ: Mapping[str, str], settings: Settings, may: May) -> Iterator[Problem]:
    return network.check_otlp(settings, environ, may)


def user_name() -> str:
    """Return the user this process runs as; in a container it may have no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _summary(settings: Settings) -> str:
    user = user_name()
    state = "a sidecar is running with this store" if places.is_running(settings) else "no sidecar is running"
    lines = [f"{PROGRAM}: no problems found as {user}; {state}."]
    if not os.geteuid():
        lines.append("root passes every permission check; run this again as the service's user.")
    places_used = {
        "socket": settings.socket,
        "spool": settings.spool,
        "state": settings.state,
        "listen": f"{settings.host}:{settings.port}{' with TLS' if settings.tls else ''}",
        "push": settings.push.url if settings.push else None,
        "otlp": settings.otlp,
        "textfile": settings.textfile,
    }
    lines += [f"  {name:<9}{place}" for name, place in places_used.items() if place]
    return "\n".join(lines) + "\n"
