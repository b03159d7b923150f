"""What makes every record count exactly once: how to switch it off, piece by piece, and what shows that."""

from collections.abc import Callable
from operator import gt, lt
from typing import NamedTuple

from tests.chaos import scenarios
from tests.chaos.stand import Stand
from tests.support.scratch import Change


class Mechanism(NamedTuple):
    """One of them.

    without: the changes that switch it off; shown_by: the scenario that then goes wrong
    goes: how the counts compare then with what happened
    """

    name: str
    without: tuple[Change, ...]
    shown_by: Callable[[Stand], None]
    goes: Callable[[int, int], bool] = lt


_COMMIT = """\
        try:
            counted = self._parts.store.commit(self._batch) if self._batch else []
"""
_IDENTITY = Change(
    "observability/store/identities.py",
    "new = _FACTS[arrival.source](event) & ~known",
    "new = _FACTS[arrival.source](event)",
)

MECHANISMS = (
    Mechanism("the identity check, an event that comes both ways", (_IDENTITY,), scenarios.held, goes=gt),
    Mechanism(
        "the identity check, a file drained twice", (_IDENTITY,), scenarios.killed_before_removing, goes=gt
    ),
    Mechanism(
        "the identity check, an event sent twice",
        (_IDENTITY,),
        scenarios.killed_before_acknowledging,
        goes=gt,
    ),
    Mechanism(
        "the wait for the acknowledgement",
        (
            Change(
                "observability/mirror.py",
                "        answer = select.poll()\n",
                "        return True\n        answer = select.poll()\n",
            ),
        ),
        scenarios.killed_while_held,
    ),
    Mechanism(
        "the spool",
        (Change("observability/mirror.py", "leave(self._spool, block)", "pass"),),
        scenarios.absent,
    ),
    Mechanism(
        "the second look after locking",
        (
            Change(
                "observability/mirror.py",
                'if _locked(fd) and _is_there(fd, directory + b"/spool"):',
                "if _locked(fd):",
            ),
        ),
        scenarios.held_before_locking,
    ),
    Mechanism(
        "the drainer's lock",
        (
            Change(
                "observability/arrivals/spool.py",
                "fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
                "pass",
            ),
        ),
        scenarios.held_before_writing,
    ),
    Mechanism(
        "the store on disk",
        (
            Change(
                "observability/store/schema.py",
                "sqlite3.connect(path, timeout=timeout, isolation_level=None)",
                'sqlite3.connect(":memory:", isolation_level=None)',
            ),
        ),
        scenarios.killed_after_counting,
    ),
    Mechanism(
        "loading the store at the start",
        (
            Change(
                "observability/store/database.py",
                "{**families.at_start(), **schema.values(self._database)}",
                "families.at_start()",
            ),
        ),
        scenarios.killed_after_counting,
    ),
    Mechanism(
        "the commit before the acknowledgement",
        (
            Change(
                "observability/sidecar.py", _COMMIT, "        self._parts.intake.acknowledge()\n" + _COMMIT
            ),
        ),
        scenarios.killed_before_committing,
    ),
    Mechanism(
        "the commit before the removal of a drained file",
        (
            Change(
                "observability/arrivals/spool.py",
                "            return _File(path)\n",
                "            file = _File(path)\n            path.unlink()\n            return file\n",
            ),
            Change(
                "observability/arrivals/spool.py", "file.path.unlink()", "file.path.unlink(missing_ok=True)"
            ),
        ),
        scenarios.killed_while_draining,
    ),
)
