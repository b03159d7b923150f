"""`--check`: report what is wrong with an environment and command line, or what a session would do.

Run by a person in the environment of the run script; sessions never import this module. It serves no
client, runs no program and writes no file. Output is one line per problem, or one per setting.
"""

import os
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from qmail_popup import executable, reasons
from qmail_popup.descriptors import is_open
from qmail_popup.settings import EXITS, OWN_PREFIX, TIMES, TLS_DESCRIPTORS, Settings, seconds
from qmail_popup.stderr import printable

_LOG = 5
_CONNECT_SECONDS = 1.0
_RESP_CODES, _STDERR = OWN_PREFIX + b"RESP_CODES", OWN_PREFIX + b"STDERR"
_SIDECAR, _SPOOL = OWN_PREFIX + b"SIDECAR", OWN_PREFIX + b"SPOOL"
_PUSHGATEWAY, _PUSH_CREDENTIALS = OWN_PREFIX + b"PUSHGATEWAY", OWN_PREFIX + b"PUSH_CREDENTIALS"
VARIABLES = {
    EXITS,
    *TIMES,
    _RESP_CODES,
    _STDERR,
    _SIDECAR,
    _SPOOL,
    _PUSHGATEWAY,
    _PUSH_CREDENTIALS,
    OWN_PREFIX + b"STATE",
    OWN_PREFIX + b"INSTANCE",
}
_SWITCHES = {_RESP_CODES: (b"", b"0", b"1"), _STDERR: (b"", b"keep")}
Environ = Mapping[bytes, bytes]


def complaints(arguments: Sequence[bytes], environ: Environ) -> list[bytes]:
    """Return one line per problem; arguments: hostname, subprogram and the subprogram's arguments."""
    settings = Settings(arguments, environ)
    found = (complaint for check in _CHECKS for complaint in check(settings, environ))
    return [printable(os.fsencode(complaint)) + b"\n" for complaint in found]


def _shown(name: bytes, environ: Environ) -> str:
    return f"{os.fsdecode(name)}={os.fsdecode(environ[name])}"


def _arguments(settings: Settings, _environ: Environ) -> Iterator[str]:
    if not settings.hostname or settings.hostname.translate(None, b"<>@ ") != settings.hostname:
        shown = os.fsdecode(settings.hostname)
        yield f"hostname {shown!r}: not a valid host name; the APOP timestamp contains it"


def _names(_settings: Settings, environ: Environ) -> Iterator[str]:
    for name in sorted(environ):
        if name.startswith(OWN_PREFIX) and name not in VARIABLES:
            yield f"{os.fsdecode(name)}: unknown variable"


def _times(_settings: Settings, environ: Environ) -> Iterator[str]:
    for name in TIMES:
        if environ.get(name) and not seconds(environ[name]):
            yield f"{_shown(name, environ)}: not a whole number of seconds above 0"


def _values(settings: Settings, environ: Environ) -> Iterator[str]:
    for name, meant in _SWITCHES.items():
        if environ.get(name, b"") not in meant:
            yield f"{_shown(name, environ)}: ignored; the only value with an effect is {meant[-1].decode()}"
    if environ.get(b"POP3AUTH") and not settings.apop:
        yield f"{_shown(b'POP3AUTH', environ)}: begins with neither apop nor +apop, so APOP is not offered"
    if mistake := reasons.parse(settings.exits)[1]:
        yield f"{os.fsdecode(EXITS)}: {os.fsdecode(mistake)}"


def _tls(_settings: Settings, environ: Environ) -> Iterator[str]:
    """Check the TLS descriptors that the server passed, if it passed any."""
    for name in TLS_DESCRIPTORS:
        number = environ.get(name)
        if number is not None and not (number.isdigit() and is_open(int(number[-9:]))):
            yield f"{_shown(name, environ)}: not an open descriptor"


def _gateway(settings: Settings, environ: Environ) -> Iterator[str]:
    url = environ.get(_PUSHGATEWAY, b"")
    if b"@" in url:
        remedy = f"use {os.fsdecode(_PUSH_CREDENTIALS)}"
        yield f"{os.fsdecode(_PUSHGATEWAY)}: ignored, because the URL contains a user; {remedy}"
    elif url and not url.startswith((b"http://", b"https://")):
        yield f"{_shown(_PUSHGATEWAY, environ)}: not an http or https URL"
    credentials = settings.pusher.get(b"--push-credentials")
    if credentials and not os.access(credentials, os.R_OK):
        yield f"{_shown(_PUSH_CREDENTIALS, environ)}: cannot be read"


def _subprogram(settings: Settings, environ: Environ) -> Iterator[str]:
    file, problem = executable.find(settings.subprogram[0], environ.get(b"PATH"))
    if problem:
        yield f"subprogram {os.fsdecode(file or settings.subprogram[0])}: {problem}"


def _sidecar(settings: Settings, _environ: Environ) -> Iterator[str]:
    if not settings.sidecar:
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(settings.sidecar)  # sends neither hello nor event, so nothing is counted
        except OSError as error:
            yield f"sidecar {os.fsdecode(settings.sidecar)}: {_cause(error)}"


def _spool(settings: Settings, _environ: Environ) -> Iterator[str]:
    if settings.spool and (problem := _why_no_spool(settings.spool)):
        yield f"spool {os.fsdecode(settings.spool)}: {problem}"


def _why_no_spool(directory: bytes) -> str:
    try:
        if not stat.S_ISDIR(os.stat(directory).st_mode):
            return "not a directory"
        if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
            return "cannot be written"
        file = os.lstat(directory + b"/spool")
    except FileNotFoundError:
        return "" if os.path.isdir(directory) else "no such directory"
    except OSError as error:
        return _cause(error)
    writable = os.access(directory + b"/spool", os.W_OK, effective_ids=True)
    usable = stat.S_ISREG(file.st_mode) and file.st_nlink == 1 and writable
    return "" if usable else "its file spool is not a writable regular file with a single link"


def _log(settings: Settings, _environ: Environ) -> Iterator[str]:
    if _LOG in settings.tls_descriptors:
        yield "descriptor 5: used by the server for TLS, so no record is written"
    elif not is_open(_LOG):
        yield "descriptor 5: closed, so no record is written; 5>&1 opens it"


_CHECKS = (_arguments, _names, _times, _values, _tls, _gateway, _subprogram, _sidecar, _spool, _log)


def description(arguments: Sequence[bytes], environ: Environ) -> list[bytes]:
    """Return what a session would do, one line per setting."""
    settings = Settings(arguments, environ)
    lines = (line for part in (_session, _mirror, _refusals) for line in part(settings, environ))
    return [printable(os.fsencode(line)) + b"\n" for line in lines]


def _session(settings: Settings, environ: Environ) -> Iterator[str]:
    file, _problem = executable.find(settings.subprogram[0], environ.get(b"PATH"))
    tls = "required" if settings.tls_required else "offered" if settings.tls_wanted else "off"
    login = f"{settings.login_timeout} s" if settings.login_timeout else "none"
    yield f"hostname: {os.fsdecode(settings.hostname)}"
    yield f"APOP: {'offered' if settings.apop else 'off'}"
    yield f"STLS: {tls}, where the server speaks UCSPI-TLS" if settings.tls_wanted else f"STLS: {tls}"
    yield f"timeouts: {settings.idle_timeout} s idle, {login} until the login"
    yield f"response codes: {'on' if settings.resp_codes else 'off'}"
    yield f"subprogram: {os.fsdecode(file)}"
    yield "records: descriptor 5"


def _mirror(settings: Settings, _environ: Environ) -> Iterator[str]:
    spool = f"the spool {os.fsdecode(settings.spool)}"
    if settings.sidecar:
        yield f"events: the sidecar at {os.fsdecode(settings.sidecar)}, or {spool}"
    elif settings.pusher:
        yield f"events: {spool}, pushed to {os.fsdecode(settings.pusher[b'--push'])}"
    else:
        yield f"events: {spool}" if settings.spool else "events: none"


def _refusals(settings: Settings, _environ: Environ) -> Iterator[str]:
    named, _mistake = reasons.parse(settings.exits)
    meanings = reasons.statuses(settings.subprogram[0], named)
    yield f'exit statuses: {os.fsdecode(EXITS)}="{written(meanings)}"'
    yield f"exit later than {settings.refusal_seconds} s after the credentials: always session"
    for name in reasons.COLUMNS:
        if not settings.exits and any(name in argument for argument in settings.subprogram[1:]):
            shown = written(reasons.COLUMNS[name])
            problem = f"{name.decode()} is not the subprogram itself, so its exit statuses are not recognized"
            yield f'{problem}: set {os.fsdecode(EXITS)}="{shown}"'


def written(meanings: Mapping[int, str]) -> str:
    """Return a table of exit statuses in the syntax of QMAIL_POPUP_EXITS."""
    other = meanings[reasons.OTHER]
    by_status = {status: reasons.meaning(status, meanings) for status in range(1, reasons.MAX_STATUS + 1)}
    words = []
    for reason in reasons.REASONS:
        statuses = [status for status, meant in by_status.items() if meant == reason]
        if statuses and reason != other:
            words.append(f"{reason}={','.join(_ranges(statuses))}")
    return " ".join([*words, f"{other}=*"])


def _ranges(statuses: Sequence[int]) -> Iterator[str]:
    for _, group in groupby(enumerate(statuses), lambda pair: pair[1] - pair[0]):
        run = [status for _, status in group]
        yield str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"


def _cause(error: OSError) -> str:
    return (error.strerror or str(error)).lower()  # a path that is too long has no errno
