"""--reset-state: moves the state aside, so that the next sidecar starts at 0."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from observability.errors import UnusableError, reason
from observability.store.locks import SIDECAR, StoreLock
from observability.store.schema import set_aside


def reset(state: Path) -> str:
    """Rename the state and its companion files; return a message with the new name. UnusableError."""
    try:
        if not state.exists():
            return f"no state to move: {state} does not exist"
        with closing(StoreLock(state, SIDECAR)):
            aside = set_aside(state, f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
    except OSError as error:
        raise UnusableError(f"cannot move the state {state}: {reason(error)}") from error
    return f"moved the state to {aside}"
