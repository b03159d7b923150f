"""What the supervisor tells its service manager."""

import resource

from qmail_popup.listener.supervisor import notify
from tests.support.child import run


def test_without_descriptors() -> None:
    """The manager is not told; nothing else happens to the supervisor."""

    def task() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        notify.notifier({b"NOTIFY_SOCKET": b"@nobody"})(notify.READY)

    run(task)
