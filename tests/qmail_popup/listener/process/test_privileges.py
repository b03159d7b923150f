"""Limits of the processes that are started."""

import fcntl
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


@pytest.mark.parametrize("at_least", [10, 64, 500])
def test_a_descriptor_beyond_the_limit_is_inherited(at_least: int) -> None:
    """A server with many connections has descriptors that its subprograms' limit does not reach."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    spawn = privileges.spawning((64, hard))
    read_end, write_end = os.pipe()
    descriptor = fcntl.fcntl(write_end, fcntl.F_DUPFD_CLOEXEC, at_least)
    command = ("/bin/sh", "-c", "read -r _; ulimit -Sn")  # waits for its limits, as for its credentials
    go_on, said = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, go_on, 0), (os.POSIX_SPAWN_DUP2, descriptor, 1)]
    pid = spawn(command[0], command, {}, file_actions=actions)
    os.write(said, b"\n")
    assert 0 == os.waitpid(pid, 0)[1]
    for fd in (write_end, descriptor, go_on, said):
        os.close(fd)
    with open(read_end, "rb") as output:
        assert b"64\n" == output.read()


def test_a_program_that_cannot_be_started_changes_no_limit() -> None:
    """The limits are restored."""
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(FileNotFoundError):
        privileges.spawning((soft - 1, hard))("/nonexistent", ["/nonexistent"], {})
    assert before == resource.getrlimit(resource.RLIMIT_NOFILE)
