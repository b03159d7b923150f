"""The times that a store needs: the day's, one that is never set back, and which boot it is."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Clocks(NamedTuple):
    """time: seconds since 1970; monotonic: seconds; boot: empty where the kernel does not say."""

    time: Callable[[], float]
    monotonic: Callable[[], float]
    boot: str


def clocks() -> Clocks:
    """Return those of this machine."""
    return Clocks(time.time, time.monotonic, _BOOT.read_text().strip() if _BOOT.exists() else "")
