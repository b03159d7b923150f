"""`qmail-popup-listener [options] hostname subprogram [argument...]`: puts the parts together.

Errors end here as one line and an exit status: 2 for a bad command line, 111 if the system refuses something,
as with tcpserver.
"""

import gc
import os
import pwd
import resource
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qmail_popup import reasons, stderr
from qmail_popup.descriptors import is_open
from qmail_popup.listener import variables
from qmail_popup.listener.options import BAD_USAGE, LOG, Options, complain, fail, parse
from qmail_popup.listener.process import privileges, sockets
from qmail_popup.listener.process.processes import STANDARD
from qmail_popup.listener.process.sockets import Listening
from qmail_popup.listener.rules.rules_file import RulesFile
from qmail_popup.listener.supervisor import handover, notify
from qmail_popup.listener.supervisor.handover import Handover
from qmail_popup.listener.supervisor.supervisor import Supervisor
from qmail_popup.listener.tasks import Tasks
from qmail_popup.listener.variables import SettingsOf
from qmail_popup.settings import EXITS, UCSPITLS, Settings
from qmail_popup.subprogram import environment

if TYPE_CHECKING:
    from qmail_popup.listener.tls.engine import Server

UNABLE = 111
_DEFAULT_USER = "nobody"
_SPARE = 100  # descriptors in addition to those of connections and sessions


class _Parsed(NamedTuple):
    """The command line and the files it names, read and validated: everything --check covers."""

    options: Options
    settings_of: SettingsOf
    environ: Mapping[bytes, bytes]
    user: pwd.struct_passwd | None
    tls: "Server | None"


def main(argv: Sequence[str], environ: MutableMapping[bytes, bytes]) -> int:
    """Serve until SIGTERM; return the exit status."""
    former = handover.take(environ)
    try:
        parsed = _read(parse(argv), environ)
    except SystemExit:
        if former:
            handover.try_again(former)
        raise
    if parsed.options.check:
        return 0
    given = former.listening if former else _handed_in(environ)
    log = _reserve_descriptors(parsed.options)  # before anything is opened that could become one of them
    listening = given if former else [*given, *_listen(parsed.options)]
    if not listening:
        fail("nothing to listen on: name a --pop3 HOST:PORT", BAD_USAGE)
    if not parsed.tls and any(one.kind == sockets.POP3S for one in listening):
        fail("a socket was passed in as pop3s, but there is no --tls-certificate", BAD_USAGE)
    tasks = Tasks(
        parsed.options,
        parsed.settings_of,
        parsed.environ,
        listening=listening,
        open_files=_raise_open_files(parsed.options),
        log=log,
        user=parsed.user,
        tls=parsed.tls,
        origin=former.origin if former else None,
    )
    supervisor = Supervisor(tasks, former, notify.notifier(environ))
    gc.freeze()  # keep the pages of existing objects shared with the children
    supervisor.run(lambda: _announce(listening, former))
    return 0


def _read(options: Options, environ: Mapping[bytes, bytes]) -> _Parsed:
    """Read the files and variables that the options refer to; exits if they are unusable."""
    user = _user(options.user)
    inherited = variables.inherited(environ)
    offered = {UCSPITLS: b""} if options.certificates else {}
    settings_of = SettingsOf(options.arguments, {**offered, **inherited})
    if mistake := reasons.parse(settings_of.default.exits)[1]:
        complain(f"{EXITS.decode()} is ignored: {stderr.printable(mistake).decode()}")
    if options.check and options.rules:
        _check_rules(options.rules)
    return _Parsed(options, settings_of, environment(inherited, {}), user, _tls(options, settings_of.default))


def _tls(options: Options, settings: Settings) -> "Server | None":
    """Read certificates and keys; ssl is imported only if there are any."""
    if not options.certificates:
        if settings.tls_required:
            complain("UCSPITLS requires TLS, but there is no --tls-certificate: nobody can log in")
        return None
    from qmail_popup.listener.tls import certificates
    from qmail_popup.listener.tls import engine as tls

    try:
        context, complaints = certificates.load(options.certificates, options.tls_minimum)
    except certificates.UnusableError as error:
        fail(str(error), BAD_USAGE)
    for complaint in complaints:
        complain(complaint)
    return tls.Server(context)


def _check_rules(path: bytes) -> None:
    """Exit if the rules would admit no client; RulesFile logs why."""
    file = RulesFile(path, complain)
    file.refresh()
    if not file.lets_in:
        sys.exit(UNABLE)


def _handed_in(environ: Mapping[bytes, bytes]) -> Sequence[Listening]:
    try:
        return sockets.handed_in(environ)
    except sockets.NotHandedInError as error:
        fail(str(error), BAD_USAGE)


def _listen(options: Options) -> Sequence[Listening]:
    try:
        places = ((sockets.POP3, options.pop3), (sockets.POP3S, options.pop3s))
        return [one for kind, endpoints in places for one in sockets.listen(kind, endpoints)]
    except OSError as error:
        fail(f"cannot listen on {error.filename}: {error.strerror}", UNABLE)


def _announce(listening: Sequence[Listening], former: Handover | None) -> None:
    """Log where clients are served, or that the listener has reloaded."""
    if former:
        complain("reloaded")
        return
    for one in listening:
        complain(str(one))


def _user(name: str | None) -> pwd.struct_passwd | None:
    """Return the workers' account; None, and a warning, if not started as root."""
    if os.geteuid():
        complain("not started as root: workers run as the same user, without privilege separation")
        return None
    try:
        user = pwd.getpwnam(_DEFAULT_USER if name is None else name)
    except KeyError:
        fail(f"no such user: {_DEFAULT_USER if name is None else name}", BAD_USAGE)
    if not user.pw_uid:
        fail(f"workers must not be root: {name}", BAD_USAGE)
    return user


def _reserve_descriptors(options: Options) -> int | None:
    """Move the log to 5 and fill closed descriptors below 6 with /dev/null; return the log's, if open."""
    if options.log_descriptor != LOG:
        if not is_open(options.log_descriptor):
            fail(f"--log-descriptor {options.log_descriptor} is a socket that was passed in", BAD_USAGE)
        os.dup2(options.log_descriptor, LOG)
    log = LOG if is_open(LOG) else None
    while (fd := os.open(os.devnull, os.O_RDWR)) in STANDARD:
        pass
    os.close(fd)
    return log


def _raise_open_files(options: Options) -> tuple[int, int]:
    """Raise the descriptor limit to its maximum, warn if it may not suffice, return the former limits."""
    soft, hard = privileges.raise_open_files()
    needed = options.connections + 3 * options.sessions + _SPARE  # client, pipe and sidecar
    if hard != resource.RLIM_INFINITY and hard < needed:
        complain(f"up to {needed} descriptors may be needed, but the limit is {hard}; see ulimit -Hn")
    return soft, hard


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environb))
