"""A login: runs the subprogram and turns its outcome into a verdict.

Decides the reply, the record's verdict, the reason of a refusal, and the messages for the operator on
descriptor 2. The session decides in which order they are sent. Imported only when a client logs in.
"""

import posix

from qmail_popup import protocol, subprogram
from qmail_popup.settings import EXITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from qmail_popup.settings import Settings

_MAX_SHOWN = 255  # bytes of the subprogram's name, on descriptor 2


class Login:
    """One login and, after wait(), its result.

    ended: accepted, rejected, crashed or error; failure: pipe or fork if ended is error
    reply: b"" if the subprogram has already answered; verdict: for the record, b"" if there is none
    reason: why the subprogram refused, "" if it did not
    """

    def __init__(
        self, settings: "Settings", credentials: protocol.Credentials, began: int, clock: "Callable[[], int]"
    ) -> None:
        """Prepare. began: when the credentials arrived, in nanoseconds of `clock`."""
        self._settings, self._credentials = settings, credentials
        self._began, self._clock = began, clock
        self._complaints: list[bytes] = []
        self.ended = self.failure = self.reason = ""
        self.reply = self.verdict = b""

    def start(self, timestamp: bytes, environ: "Mapping[bytes, bytes]", sigmask: "Collection[int]") -> None:
        """Start the subprogram with `sigmask` blocked, and pass it the credentials."""
        self._subprogram = subprogram.start(
            self._settings.subprogram,
            environ,
            sigmask=sigmask,
            keep_stderr=self._settings.keep_stderr,
            clock=self._clock,
        )
        self._subprogram.hand_over(self._credentials.name, self._credentials.secret, timestamp)

    def wait(self) -> subprogram.Outcome:
        """Wait for the subprogram and decide."""
        outcome = self._subprogram.wait()
        if outcome.failure:
            self._give_up(outcome, outcome.failure)
        elif outcome.status == 0:
            self.ended, self.verdict = "accepted", self._verdict(b"Accept")
        else:
            self._refuse(outcome)
        return outcome

    def complain(self, others: "Collection[int]") -> None:
        """Write the messages to descriptor 2, unless it is in `others` or stderr.py cannot be imported."""
        if not self._complaints:
            return
        try:
            from qmail_popup import stderr
        except (ImportError, OSError):
            return
        if stderr.STDERR not in others:
            for complaint in self._complaints:
                stderr.log(complaint)

    def _give_up(self, outcome: subprogram.Outcome, failure: str) -> None:
        self.ended, self.failure = "error", failure
        self.reply = protocol.unable(failure, resp_codes=self._settings.resp_codes)
        self._cannot(b"start", outcome.error or 0)

    def _refuse(self, outcome: subprogram.Outcome) -> None:
        from qmail_popup import reasons  # an accepted login does not need it

        self.reason, mistake = reasons.of(outcome, self._began, self._settings)
        code = reasons.RESPONSE_CODES[self.reason] if self._settings.resp_codes else b""
        self.reply = protocol.refusal(outcome.status, code)
        self.ended = "crashed" if self.reason == reasons.CRASHED else "rejected"
        self.verdict = self._verdict(b"Reject")
        if outcome.error:
            self._cannot(b"run", outcome.error)
        if mistake:
            self._complaints.append(b"%s is ignored: %s" % (EXITS, mistake))

    def _verdict(self, result: bytes) -> bytes:
        return b"%s::AUTH::%s" % (result, self._credentials.method)

    def _cannot(self, what: bytes, error: int) -> None:
        program = self._settings.subprogram[0][:_MAX_SHOWN]
        self._complaints.append(b"cannot %s %s: %s" % (what, program, posix.strerror(error).encode()))
