"""Single faults, and the same faults with the mechanism against them disabled."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.mechanisms import MECHANISMS, Mechanism
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.stand import Stand


def _name(mechanism: Mechanism) -> str:
    return f"{mechanism.part}-{mechanism.shown_by.__name__}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_what_happened_is_what_is_counted(tmp_path: Path, scenario: Callable[[Stand], None]) -> None:
    """After any single fault, each record and each session counts once."""
    with Stand(tmp_path) as stand:
        scenario(stand)
        assert stand.happened == stand.counted()


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=_name)
def test_without_the_mechanism_the_count_is_wrong(tmp_path: Path, mechanism: Mechanism) -> None:
    """Without the mechanism the counts are wrong: the scenario can fail, and the mechanism is needed."""
    with Stand(tmp_path, mechanism.part) as stand:
        mechanism.shown_by(stand)
        happened, counted = stand.happened, stand.counted()
        assert mechanism.goes(counted.attempts, happened.attempts)
        assert mechanism.goes(counted.sessions, happened.sessions)
