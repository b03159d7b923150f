"""Limits of the processes that are started."""

import os
import resource

import pytest

from qmail_popup.listener.process import privileges

_SHOW = ("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn")


@pytest.mark.parametrize("fewer", [0, 1])
def test_descriptor_limits_hold_from_the_start(fewer: int) -> None:
    """Nothing has to be done after a process was started, and this process keeps its own limits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spawn = privileges.spawning((soft - fewer, hard))
    read_end, write_end = os.pipe()
    pid = spawn(_SHOW[0], _SHOW, {}, file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)])
    os.waitpid(pid, 0)
    os.close(write_end)
    with open(read_end, "rb") as output:
        assert b"%d\n%d\n" % (soft - fewer, hard) == output.read()
    assert (soft, hard) == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_a_program_that_cannot_be_started_changes_no_limit() -> None:
    """The limits are restored."""
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(FileNotFoundError):
        privileges.spawning((soft - 1, hard))("/nonexistent", ["/nonexistent"], {})
    assert before == resource.getrlimit(resource.RLIMIT_NOFILE)
