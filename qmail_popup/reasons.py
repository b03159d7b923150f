"""Why a login was refused: one word for each way a subprogram can end without accepting the login.

A checker executes the POP3 server. So the exit status is the checker's if it refused the login, and the
server's if it accepted. Owns the table that tells the two apart, and the syntax of QMAIL_POPUP_EXITS, with
which an operator overrides it. A session imports this only after a refusal; the sidecar uses it too.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping

    from qmail_popup.settings import Settings
    from qmail_popup.subprogram import Outcome

    Statuses = Mapping[int, str]  # what each exit status means; OTHER stands for all others
else:
    import _signal as signal  # signal itself imports enum: 4.6 ms

SESSION = "session"  # the login had succeeded, or a signal from outside ended the subprogram
CREDENTIALS = "credentials"
TEMPORARY = "temporary"
MISUSE = "misuse"
CRASHED = "crashed"
REASONS = (SESSION, CREDENTIALS, TEMPORARY, MISUSE, CRASHED)

# RFC 3206: SYS/TEMP and SYS/PERM blame the server, AUTH the password. "session" says nothing of the login.
RESPONSE_CODES = {
    SESSION: b"",
    CREDENTIALS: b"[AUTH] ",
    TEMPORARY: b"[SYS/TEMP] ",
    MISUSE: b"[SYS/PERM] ",
    CRASHED: b"[SYS/TEMP] ",
}

OTHER = 0  # key for all statuses that a table does not list
MAX_STATUS = 255
_CANNOT_RUN = (126, 127)  # from a shell or env: not executable, not found
_SYS_TEMP = 111  # checkpassword: temporary problem
_ENDED = (signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)  # never caused by a checker
_ENDED_STATUSES = tuple(128 + number for number in _ENDED)  # how a shell reports them

DEFAULT: "Statuses" = {
    2: MISUSE,
    **dict.fromkeys((_SYS_TEMP, *_CANNOT_RUN), TEMPORARY),
    OTHER: CREDENTIALS,
}
# cvm: 100 is a refusal, 2 a name that is too long (the client's fault), 4 a module that is missing.
_CVM: "Statuses" = {
    **dict.fromkeys((2, 7, 100), CREDENTIALS),
    **dict.fromkeys((3, 4, 5, 6, _SYS_TEMP, *_CANNOT_RUN), TEMPORARY),
    OTHER: SESSION,
}
# vpopmail: 12 and 13 are a name or a password that is too long.
_VCHKPW: "Statuses" = {**dict.fromkeys((1, 3, 12, 13, 20), CREDENTIALS), OTHER: TEMPORARY}
COLUMNS: "Mapping[bytes, Statuses]" = {
    b"cvm-checkpassword": _CVM,
    b"cvm-v1checkpassword": _CVM,
    b"vchkpw": _VCHKPW,
}


def of(outcome: "Outcome", credentials: int, settings: "Settings") -> tuple[str, bytes]:
    """Return why a login was refused, and what is wrong with QMAIL_POPUP_EXITS, if anything.

    credentials: when they arrived, in nanoseconds
    """
    named, mistake = parse(settings.exits)
    if outcome.error:  # it never ran, so neither time nor table applies
        return TEMPORARY, mistake
    late = outcome.exited - credentials > settings.refusal_seconds * 1_000_000_000
    meanings = statuses(settings.subprogram[0], named)
    return reason(outcome.status, outcome.signal, late=late, meanings=meanings), mistake


def statuses(program: bytes, named: "Statuses") -> "Statuses":
    """Return the meaning of a subprogram's exit statuses: from `named`, else by its path's last component."""
    return named if OTHER in named else {**COLUMNS.get(program.rpartition(b"/")[2], DEFAULT), **named}


def reason(
    status: int | None, signal_number: int | None, *, late: bool, meanings: "Statuses" = DEFAULT
) -> str:
    """Return why a login was refused.

    status, signal_number: how the subprogram ended; one of them is None
    late: it ran longer after the credentials than any checker takes to refuse them
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
    """Parse QMAIL_POPUP_EXITS, `reason=status,status-status,* ...`; return the table and the first mistake.

    One mistake invalidates all of it: half a table could report a database outage as wrong passwords.
    """
    named: dict[int, str] = {}
    for word in text.split():
        if mistake := _read(word, named):
            return {}, mistake + word
    return named, b""


def _read(word: bytes, named: "dict[int, str]") -> bytes:
    """Add one word's statuses to `named`; return what is wrong with the word."""
    name, _equals, items = word.partition(b"=")
    meant = name.decode("latin-1")
    if meant not in REASONS:
        return b"unknown reason: "
    for first, last in map(_range, items.split(b",")):
        if first == last:
            return b"not a list of statuses from 1 to 255, or *: "
        for status in range(first, last):
            if named.setdefault(status, meant) != meant:
                return b"status assigned to two reasons: "
    return b""


def _range(item: bytes) -> tuple[int, int]:
    """Return the bounds of `7`, `4-15` or `*`, the last one exclusive; (0, 0) if invalid."""
    if item == b"*":
        return OTHER, OTHER + 1
    low, dash, high = item.partition(b"-")
    first, last = _status(low), _status(high if dash else low)
    return (first, last + 1) if 0 < first <= last else (0, 0)


def _status(digits: bytes) -> int:
    """Return an exit status; 0 if it is invalid."""
    number = int(digits) if digits.isdigit() and len(digits) <= len(str(MAX_STATUS)) else 0
    return number if number <= MAX_STATUS else 0
