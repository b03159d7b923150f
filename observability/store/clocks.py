"""The store's clocks: time of day, monotonic time, and the boot ID."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Clocks(NamedTuple):
    """time: seconds since 1970; monotonic: seconds; boot: empty if the kernel has none."""

    time: Callable[[], float]
    monotonic: Callable[[], float]
    boot: str


def clocks() -> Clocks:
    """Return this machine's clocks."""
    return Clocks(time.time, time.monotonic, _BOOT.read_text().strip() if _BOOT.exists() else "")
