"""`--check`: report what is wrong with an environment and command line, or what a session would do.

Run by a person in the environment of the run script; sessions never import this module. It serves no
client, runs no program and writes no file. Output is one line per problem, or one per setting.
"""

import os
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from qmail_popup import executable, reasons, settings
from qmail_popup.descriptors import is_open
from qmail_popup.settings import EXITS, OWN_PREFIX, TIMES, TLS_DESCRIPTORS, Settings
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
    told = Settings(arguments, environ)
    found = (complaint for check in _CHECKS for complaint in check(told, environ))
    return [printable(os.fsencode(complaint)) + b"\n" for complaint in found]


def _shown(name: bytes, environ: Environ) -> str:
    return f"{os.fsdecode(name)}={os.fsdecode(environ[name])}"


def _arguments(told: Settings, _environ: Environ) -> Iterator[str]:
    if not told.hostname or told.hostname.translate(None, b"<>@ ") != told.hostname:
        yield f"hostname {os.fsdecode(told.hostname)!r}: no name of a host, which stands in the timestamp"


def _names(_told: Settings, environ: Environ) -> Iterator[str]:
    for name in sorted(environ):
        if name.startswith(OWN_PREFIX) and name not in VARIABLES:
            yield f"{os.fsdecode(name)}: there is no such variable"


def _times(_told: Settings, environ: Environ) -> Iterator[str]:
    for name in TIMES:
        if environ.get(name) and not settings.seconds(environ[name]):
            yield f"{_shown(name, environ)}: not a whole number of seconds above 0"


def _values(told: Settings, environ: Environ) -> Iterator[str]:
    for name, meant in _SWITCHES.items():
        if environ.get(name, b"") not in meant:
            yield f"{_shown(name, environ)}: only {meant[-1].decode()} means something"
    if environ.get(b"POP3AUTH") and not told.apop:
        yield f"{_shown(b'POP3AUTH', environ)}: begins with neither apop nor +apop, so APOP is not offered"
    if mistake := reasons.parse(told.exits)[1]:
        yield f"{os.fsdecode(EXITS)}: {os.fsdecode(mistake)}"


def _tls(_told: Settings, environ: Environ) -> Iterator[str]:
    """Check the TLS descriptors that the server passed, if it passed any."""
    for name in TLS_DESCRIPTORS:
        number = environ.get(name)
        if number is not None and not (number.isdigit() and is_open(int(number[-9:]))):
            yield f"{_shown(name, environ)}: not an open descriptor"


def _gateway(told: Settings, environ: Environ) -> Iterator[str]:
    url = environ.get(_PUSHGATEWAY, b"")
    if b"@" in url:
        yield f"{os.fsdecode(_PUSHGATEWAY)}: nothing is pushed where the URL has a user in it"
    elif url and not url.startswith((b"http://", b"https://")):
        yield f"{_shown(_PUSHGATEWAY, environ)}: not a URL with http or https"
    credentials = told.pusher.get(b"--push-credentials")
    if credentials and not os.access(credentials, os.R_OK):
        yield f"{_shown(_PUSH_CREDENTIALS, environ)}: cannot be read"


def _subprogram(told: Settings, environ: Environ) -> Iterator[str]:
    file, problem = executable.find(told.subprogram[0], environ.get(b"PATH"))
    if problem:
        yield f"subprogram {os.fsdecode(file or told.subprogram[0])}: {problem}"


def _sidecar(told: Settings, _environ: Environ) -> Iterator[str]:
    if not told.sidecar:
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(told.sidecar)  # sends neither hello nor event, so nothing is counted
        except OSError as error:
            yield f"sidecar {os.fsdecode(told.sidecar)}: {_cause(error)}"


def _spool(told: Settings, _environ: Environ) -> Iterator[str]:
    if told.spool and (problem := _why_no_spool(told.spool)):
        yield f"spool {os.fsdecode(told.spool)}: {problem}"


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
    return "" if usable else "its file spool is not a regular file with one link that can be written"


def _log(told: Settings, _environ: Environ) -> Iterator[str]:
    if _LOG in told.tls_descriptors:
        yield "descriptor 5: the server has it for TLS, so no record is written"
    elif not is_open(_LOG):
        yield "descriptor 5: closed, so no record is written; 5>&1 opens it"


_CHECKS = (_arguments, _names, _times, _values, _tls, _gateway, _subprogram, _sidecar, _spool, _log)


def description(arguments: Sequence[bytes], environ: Environ) -> list[bytes]:
    """Return what a session would do, one line per setting."""
    told = Settings(arguments, environ)
    lines = (line for part in (_session, _mirror, _refusals) for line in part(told, environ))
    return [printable(os.fsencode(line)) + b"\n" for line in lines]


def _session(told: Settings, environ: Environ) -> Iterator[str]:
    file, _problem = executable.find(told.subprogram[0], environ.get(b"PATH"))
    tls = "required" if told.tls_required else "offered" if told.tls_wanted else "off"
    login = f"{told.login_timeout} s" if told.login_timeout else "none"
    yield f"hostname: {os.fsdecode(told.hostname)}"
    yield f"APOP: {'offered' if told.apop else 'off'}"
    yield f"STLS: {tls}, where the server speaks UCSPI-TLS" if told.tls_wanted else f"STLS: {tls}"
    yield f"timeouts: {told.idle_timeout} s idle, {login} until the login"
    yield f"response codes: {'on' if told.resp_codes else 'off'}"
    yield f"subprogram: {os.fsdecode(file)}"
    yield "records: descriptor 5"


def _mirror(told: Settings, _environ: Environ) -> Iterator[str]:
    spool = f"the spool {os.fsdecode(told.spool)}"
    if told.sidecar:
        yield f"events: the sidecar at {os.fsdecode(told.sidecar)}, or {spool}"
    elif told.pusher:
        yield f"events: {spool}, pushed to {os.fsdecode(told.pusher[b'--push'])}"
    else:
        yield f"events: {spool}" if told.spool else "events: none"


def _refusals(told: Settings, _environ: Environ) -> Iterator[str]:
    named, _mistake = reasons.parse(told.exits)
    meanings = reasons.statuses(told.subprogram[0], named)
    yield f'exit statuses: {os.fsdecode(EXITS)}="{written(meanings)}"'
    yield f"later than {told.refusal_seconds} s after the credentials: session, whatever the status"
    for name in reasons.COLUMNS:
        if not told.exits and any(name in argument for argument in told.subprogram[1:]):
            shown = written(reasons.COLUMNS[name])
            yield f'{name.decode()} is not seen there: set {os.fsdecode(EXITS)}="{shown}"'


def written(meanings: Mapping[int, str]) -> str:
    """Return a table of exit statuses in the syntax of QMAIL_POPUP_EXITS."""
    other = meanings[reasons.OTHER]
    told = {status: reasons.meaning(status, meanings) for status in range(1, reasons.MAX_STATUS + 1)}
    words = []
    for reason in reasons.REASONS:
        statuses = [status for status, meant in told.items() if meant == reason]
        if statuses and reason != other:
            words.append(f"{reason}={','.join(_ranges(statuses))}")
    return " ".join([*words, f"{other}=*"])


def _ranges(statuses: Sequence[int]) -> Iterator[str]:
    for _, group in groupby(enumerate(statuses), lambda pair: pair[1] - pair[0]):
        run = [status for _, status in group]
        yield str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"


def _cause(error: OSError) -> str:
    return (error.strerror or str(error)).lower()  # a path that is too long has no errno
