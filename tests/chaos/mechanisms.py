"""The mechanisms that make every record count exactly once, each with a scenario that needs it."""

from collections.abc import Callable
from operator import gt, lt
from typing import NamedTuple

from tests.chaos import scenarios
from tests.chaos.stand import Stand


class Mechanism(NamedTuple):
    """A mechanism.

    part: its name in `tests.support.without`; shown_by: the scenario that fails without it
    goes: how the counts then compare with the expected ones
    """

    part: str
    shown_by: Callable[[Stand], None]
    goes: Callable[[int, int], bool] = lt


MECHANISMS = (
    Mechanism("identities", scenarios.held, goes=gt),  # an event by both socket and spool
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
