"""What the supervisor tells its service manager."""

import resource
import time

from qmail_popup.listener.supervisor import notify
from tests.support.child import run


def test_without_descriptors() -> None:
    """The manager is not told; nothing else happens to the supervisor."""

    def task() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        notify.notifier({b"NOTIFY_SOCKET": b"@nobody"})(notify.READY)

    run(task)


def test_the_time_of_a_reload() -> None:
    """In microseconds of CLOCK_MONOTONIC, or systemd takes the reload for another (sd_notify(3))."""
    before = time.monotonic_ns()
    state, told = notify.reloading().split("\nMONOTONIC_USEC=")
    assert "RELOADING=1" == state
    assert before // 1000 <= int(told) <= time.monotonic_ns() // 1000
