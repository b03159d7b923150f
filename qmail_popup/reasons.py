"""Why a login was refused: one word for each way in which a subprogram can end without letting anybody in.

A checker executes the POP3 server, so an exit status is the checker's for a refusal and the server's after a
good login. Owns the table that tells them apart, and the grammar of QMAIL_POPUP_EXITS, with which an operator
changes it. Imported only where a subprogram refused; the sidecar, too, goes by this table.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping

    from qmail_popup.settings import Settings
    from qmail_popup.subprogram import Outcome

    Statuses = Mapping[int, str]  # what each exit status means; OTHER: all that are not in it
else:
    import _signal as signal  # signal itself imports enum: 4.6 ms

SESSION = "session"  # the login had succeeded, or somebody ended it
CREDENTIALS = "credentials"
TEMPORARY = "temporary"
MISUSE = "misuse"
CRASHED = "crashed"
REASONS = (SESSION, CREDENTIALS, TEMPORARY, MISUSE, CRASHED)

# RFC 3206: SYS/TEMP and SYS/PERM blame the server, AUTH the password; a session says nothing of the login.
RESPONSE_CODES = {
    SESSION: b"",
    CREDENTIALS: b"[AUTH] ",
    TEMPORARY: b"[SYS/TEMP] ",
    MISUSE: b"[SYS/PERM] ",
    CRASHED: b"[SYS/TEMP] ",
}

OTHER = 0  # in a table of statuses: all that it does not name
MAX_STATUS = 255
_CANNOT_RUN = (126, 127)  # of a shell, or env: not executable, not found
_SYS_TEMP = 111  # checkpassword's temporary problem
_ENDED = (signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)  # never a checker's own doing
_ENDED_STATUSES = tuple(128 + number for number in _ENDED)  # how a shell reports them

DEFAULT: "Statuses" = {
    2: MISUSE,
    **dict.fromkeys((_SYS_TEMP, *_CANNOT_RUN), TEMPORARY),
    OTHER: CREDENTIALS,
}
# cvm's: 100 is a refusal, 2 a name that is too long (the client's doing), 4 a module that is gone.
_CVM: "Statuses" = {
    **dict.fromkeys((2, 7, 100), CREDENTIALS),
    **dict.fromkeys((3, 4, 5, 6, _SYS_TEMP, *_CANNOT_RUN), TEMPORARY),
    OTHER: SESSION,
}
# vpopmail's: 12 and 13 are a name or a password that is too long.
_VCHKPW: "Statuses" = {**dict.fromkeys((1, 3, 12, 13, 20), CREDENTIALS), OTHER: TEMPORARY}
COLUMNS: "Mapping[bytes, Statuses]" = {
    b"cvm-checkpassword": _CVM,
    b"cvm-v1checkpassword": _CVM,
    b"vchkpw": _VCHKPW,
}


def of(outcome: "Outcome", credentials: int, settings: "Settings") -> tuple[str, bytes]:
    """Return why a session's login was refused, and what is wrong with the operator's table, if anything.

    credentials: nanoseconds, when they had come
    """
    named, mistake = parse(settings.exits)
    if outcome.error:  # it has never run, so neither the time nor the table says anything of it
        return TEMPORARY, mistake
    late = outcome.exited - credentials > settings.refusal_seconds * 1_000_000_000
    meanings = statuses(settings.subprogram[0], named)
    return reason(outcome.status, outcome.signal, late=late, meanings=meanings), mistake


def statuses(program: bytes, named: "Statuses") -> "Statuses":
    """Return what a subprogram's exit statuses mean: as `named` has it, else by its path's last component."""
    return named if OTHER in named else {**COLUMNS.get(program.rpartition(b"/")[2], DEFAULT), **named}


def reason(
    status: int | None, signal_number: int | None, *, late: bool, meanings: "Statuses" = DEFAULT
) -> str:
    """Return why a login was refused.

    status, signal_number: how the subprogram ended, one of them None
    late: longer after the credentials than any checker takes to refuse them
    """
    if late or signal_number in _ENDED:
        return SESSION
    return CRASHED if status is None else meaning(status, meanings)


def meaning(status: int, meanings: "Statuses") -> str:
    """Return what an exit status other than 0 means."""
    if status in meanings:
        return meanings[status]
    return SESSION if status in _ENDED_STATUSES else meanings[OTHER]


def parse(text: bytes) -> "tuple[dict[int, str], bytes]":
    """Read QMAIL_POPUP_EXITS, `reason=status,status-status,* ...`: what it names, and what is wrong with it.

    One mistake, and nothing is named: half of it could turn a database that is down into wrong passwords.
    """
    named: dict[int, str] = {}
    for word in text.split():
        if mistake := _read(word, named):
            return {}, mistake + word
    return named, b""


def _read(word: bytes, named: "dict[int, str]") -> bytes:
    """Add to `named` what one word says; what is wrong with it."""
    name, _equals, items = word.partition(b"=")
    meant = name.decode("latin-1")
    if meant not in REASONS:
        return b"no such reason: "
    for first, last in map(_range, items.split(b",")):
        if first == last:
            return b"neither statuses from 1 to 255 nor *: "
        for status in range(first, last):
            if named.setdefault(status, meant) != meant:
                return b"a status that has another reason already: "
    return b""


def _range(item: bytes) -> tuple[int, int]:
    """Return the first status of `7`, `4-15` or `*` and the one behind its last; (0, 0) where it is none."""
    if item == b"*":
        return OTHER, OTHER + 1
    low, dash, high = item.partition(b"-")
    first, last = _status(low), _status(high if dash else low)
    return (first, last + 1) if 0 < first <= last else (0, 0)


def _status(digits: bytes) -> int:
    """Return an exit status; 0 where it is none."""
    number = int(digits) if digits.isdigit() and len(digits) <= len(str(MAX_STATUS)) else 0
    return number if number <= MAX_STATUS else 0
