"""What makes every record count exactly once: each mechanism, and the scenario that shows what it is for."""

from collections.abc import Callable
from operator import gt, lt
from typing import NamedTuple

from tests.chaos import scenarios
from tests.chaos.stand import Stand


class Mechanism(NamedTuple):
    """One of them.

    part: its name in `tests.support.without`; shown_by: the scenario that goes wrong without it
    goes: how the counts compare then with what happened
    """

    part: str
    shown_by: Callable[[Stand], None]
    goes: Callable[[int, int], bool] = lt


MECHANISMS = (
    Mechanism("identities", scenarios.held, goes=gt),  # an event that comes both ways
    Mechanism("identities", scenarios.killed_before_removing, goes=gt),  # a file drained twice
    Mechanism("identities", scenarios.killed_before_acknowledging, goes=gt),  # an event sent twice
    Mechanism("acknowledgement", scenarios.killed_while_held),
    Mechanism("spool", scenarios.absent),
    Mechanism("second-look", scenarios.held_before_locking),
    Mechanism("drainer-lock", scenarios.held_before_writing),
    Mechanism("store-file", scenarios.killed_after_counting),
    Mechanism("stored-totals", scenarios.killed_after_counting),
    Mechanism("commit-before-acknowledgement", scenarios.killed_before_committing),
    Mechanism("commit-before-removal", scenarios.killed_while_draining),
)
