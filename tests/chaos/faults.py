"""Faults of a sidecar while events arrive; each leaves a sidecar running at the socket's path."""

import random
import time
from collections.abc import Callable

from tests.support.keeper import Keeper

Pause = Callable[[float, float], None]
Fault = Callable[[Keeper, Pause], None]


def killed(keeper: Keeper, pause: Pause) -> None:
    """Kill the sidecar, and restart it after a while."""
    keeper.kill()
    pause(0, 0.8)
    keeper.start()


def killed_at_once(keeper: Keeper, _pause: Pause) -> None:
    """Kill the sidecar, and restart it at once."""
    keeper.kill()
    keeper.start()


def held(keeper: Keeper, pause: Pause) -> None:
    """Suspend the sidecar, and resume it after popups have given up on it."""
    keeper.hold()
    pause(0.1, 1)
    keeper.go_on()


def killed_while_held(keeper: Keeper, pause: Pause) -> None:
    """Suspend the sidecar, and kill it with unread events."""
    keeper.hold()
    pause(0.1, 0.6)
    killed(keeper, pause)


def ended_while_held(keeper: Keeper, pause: Pause) -> None:
    """Stop the sidecar while events wait in its backlog."""
    keeper.hold()
    pause(0.1, 0.4)
    keeper.stop()
    pause(0, 0.3)
    keeper.start()


def unreachable(keeper: Keeper, pause: Pause) -> None:
    """Remove the socket while events wait in its backlog."""
    keeper.hold()
    pause(0, 0.3)
    keeper.socket.unlink()
    keeper.go_on()
    pause(0.8, 1.2)


def locked(keeper: Keeper, pause: Pause) -> None:
    """Lock the store from another process, for longer than popups wait."""
    with keeper.locked():
        pause(0.3, 1)


def killed_while_locked(keeper: Keeper, pause: Pause) -> None:
    """Lock the store from another process, and kill the sidecar with uncommitted events."""
    with keeper.locked():
        pause(0.3, 1)
        keeper.kill()
    keeper.start()


FAULTS: tuple[Fault, ...] = (
    killed,
    killed_at_once,
    held,
    killed_while_held,
    ended_while_held,
    unreachable,
    locked,
    killed_while_locked,
)


def plan(keeper: Keeper, seed: int, rounds: int) -> None:
    """Inject each fault `rounds` times, with order and durations determined by seed."""
    chance = random.Random(seed)  # noqa: S311

    def pause(least: float, most: float) -> None:
        time.sleep(chance.uniform(least, most))

    todo = [*FAULTS] * rounds
    chance.shuffle(todo)
    for fault in todo:
        fault(keeper, pause)
        pause(0.05, 0.5)
