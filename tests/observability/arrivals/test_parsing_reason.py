"""Why a login was refused, where the event does not say: as older popups leave it."""

import pytest

from observability.arrivals.parsing import Event, parse
from observability.event import build
from tests.support.sidecar import RECORD, REJECTED, START, fields

_LATE = b"%d" % (START + 50_000_000 + 10_000_000_001)
_IN_TIME = b"%d" % (START + 50_000_000 + 10_000_000_000)


def _reason(changes: dict[str, bytes | None], *seconds: float) -> str | None:
    what = parse(build(fields(changes))[:-2], *seconds)
    assert isinstance(what, Event)
    return what.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "credentials"),
        ({"STATUS": b"100"}, "credentials"),
        ({"STATUS": b"111"}, "temporary"),
        ({"STATUS": b"127"}, "temporary"),
        ({"STATUS": b"2"}, "misuse"),
        ({"STATUS": b"141"}, "session"),
        ({"STATUS": None, "SIGNAL": b"13"}, "session"),
        ({"STATUS": None, "SIGNAL": b"11"}, "crashed"),
        ({"STATUS": None}, "credentials"),
        ({"T_EXITED": _IN_TIME, "T_ENDED": _IN_TIME}, "credentials"),
        ({"T_EXITED": _LATE, "T_ENDED": _LATE}, "session"),
        ({"T_EXITED": None, "T_ENDED": _LATE}, "session"),
        ({"STATUS": None, "T_EXITED": _LATE, "T_ENDED": _LATE}, "session"),
        ({"T_CREDENTIALS": None}, "credentials"),
        ({"REASON": b"misuse"}, "misuse"),
        ({"REASON": b"misuse", "T_EXITED": _LATE, "T_ENDED": _LATE}, "misuse"),
    ],
)
def test_a_refusal_has_a_reason(changes: dict[str, bytes | None], reason: str) -> None:
    """The popup's own, or what a popup would say that knows the default table and ten seconds."""
    assert reason == _reason({**REJECTED, **changes})


def test_how_late_is_too_late_can_be_told() -> None:
    """Where checkers take longer, or answer sooner."""
    assert "session" == _reason({**REJECTED}, 0.299)
    assert "credentials" == _reason({**REJECTED}, 0.3)


def test_a_refusal_before_tls_has_its_own() -> None:
    """No subprogram refused it."""
    line = RECORD.replace(b"Accept::AUTH::User", b"Reject::STLS::Any")
    assert "tls_required" == _reason({"RECORD": line, "ENDED": b"tls_required", "STATUS": None})


@pytest.mark.parametrize(
    "changes", [{}, {"RECORD": None, "ENDED": b"quit"}, {"RECORD": None, "STATUS": b"1"}]
)
def test_what_was_not_refused_has_none(changes: dict[str, bytes | None]) -> None:
    """An accepted login, and a session without one."""
    assert _reason(changes) is None
