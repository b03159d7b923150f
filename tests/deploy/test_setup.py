"""deploy/setup: what it asks of Debian, what it says, and what it leaves of the host as it was.

It runs on a pretended host (tests/support/host.py), and the real table of packages is read besides.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.host import SETUP, Host
from tests.support.processes import descendants, name_of
from tests.support.programs import need
from tests.support.waiting import TIMEOUT, until

HOST_POLICY = "#!/bin/sh\nexit 104\n"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a machine on which everything is missing, and no policy is set."""
    return Host(tmp_path)


def test_installs_the_missing_packages_and_says_so_before(host: Host) -> None:
    """One call of apt-get installs both packages of the set, after a line that names them."""
    status, output, _ = host.run("test")
    assert 0 == status
    assert output.startswith("Installing these Debian packages: zz-server zz-daemon\n")
    assert ["zz-server", "zz-daemon"] == host.called("apt-get")[-1].split()[-2:]


def test_an_older_python_is_told_in_one_line(host: Host) -> None:
    """Before anything is installed; and one that is as new as it has to be is not."""
    host.program("older", 'case $2 in *"< (3, 11)"*) exit 1 ;; esac\n')
    with host.start("test", str(host.bin / "older")) as process:
        output, errors = process.communicate(timeout=60)
    said = f"{host.bin}/older is older than Python 3.11; choose another with PYTHON="
    assert (1, "", f"qmail-popup: {said}\n") == (process.returncode, output, errors)
    assert [] == host.called()
    host.program("newer")
    with host.start("test", str(host.bin / "newer")) as process:
        process.communicate(timeout=60)
    assert 0 == process.returncode


def test_a_smaller_set_installs_less(host: Host) -> None:
    """The demo's set leaves out what only the tests need."""
    host.run("run")
    assert host.called("apt-get")[-1].endswith(" install zz-server")


def test_removes_nothing_and_takes_no_recommended_packages(host: Host) -> None:
    """apt-get gives up rather than remove a package, and leaves alone what ours merely recommend."""
    host.run("run")
    assert {"--no-remove", "--no-install-recommends"} <= set(host.called("apt-get")[-1].split())


def test_installs_only_what_is_not_found_by_its_program(host: Host) -> None:
    """A program that is there counts, whether or not it came from a package."""
    host.program("zz-tcpserver")
    host.run("test")
    assert host.called("apt-get")[-1].endswith(" install zz-daemon")


def test_nothing_missing_asks_nobody(host: Host) -> None:
    """With everything there it needs no root, calls nothing, says nothing and leaves the policy alone."""
    host.run("test")
    host.calls.unlink()
    assert (0, "", "") == host.run("test", FAKE_UID="1000")
    assert [] == host.called()
    assert not host.policy.exists()


def test_without_root_it_says_what_root_should_run(host: Host) -> None:
    """An ordinary user gets one line with the apt-get command, and a status that stops make."""
    status, output, errors = host.run("test", FAKE_UID="1000")
    assert (1, "") == (status, output)
    assert 1 == errors.count("\n")
    assert "apt-get install --no-install-recommends zz-server zz-daemon\n" in errors
    assert [] == host.called()


def test_without_apt_get_it_names_the_programs(host: Host) -> None:
    """On another system one line names the programs that are to be there."""
    (host.bin / "apt-get").unlink()
    status, output, errors = host.run("test")
    assert (1, "") == (status, output)
    assert 1 == errors.count("\n")
    assert errors.endswith(": zz-tcpserver zz-daemond\n")


def test_an_unknown_set_is_refused(host: Host) -> None:
    """A set that does not exist is an error, not an empty set."""
    status, _, errors = host.run("everything")
    assert 1 == status
    assert "everything" in errors


def test_no_daemon_starts_while_it_installs(host: Host) -> None:
    """The policy that dpkg asks answers 101, and stays away from a host that had none."""
    host.run("test")
    assert ["policy says 101"] == host.called("policy")
    assert [] == list(host.policy.parent.iterdir())


def test_daemons_of_the_new_packages_are_not_left_enabled(host: Host) -> None:
    """Init scripts and units of the new packages are disabled; a template, which starts nothing, is not."""
    host.run("test")
    assert ["update-rc.d zz-new disable", "update-rc.d zz-old disable"] == host.called("update-rc.d")


def test_a_unit_without_an_init_script_is_no_failure(host: Host) -> None:
    """update-rc.d complains of it once it has done its work: all are disabled, the policy is put back."""
    status, _, _ = host.run("test", COMPLAINS="1")
    assert 0 == status
    assert ["update-rc.d zz-new disable", "update-rc.d zz-old disable"] == host.called("update-rc.d")
    assert [] == list(host.policy.parent.iterdir())


@pytest.mark.parametrize("environ", [{}, {"BREAK": "1"}], ids=["installed", "apt-get failed"])
def test_the_hosts_own_policy_is_put_back(host: Host, environ: dict[str, str]) -> None:
    """The host's policy is the very same file afterwards, however the installation ended."""
    host.policy.write_text(HOST_POLICY)
    host.policy.chmod(0o750)
    before = host.policy.stat()
    status, _, _ = host.run("test", **environ)
    assert bool(environ) == bool(status)
    assert "policy says 101" in host.called("policy")
    after = host.policy.stat()
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
    assert HOST_POLICY == host.policy.read_text()
    assert [host.policy] == list(host.policy.parent.iterdir())


def test_a_policy_that_is_a_link_is_put_back_as_a_link(host: Host) -> None:
    """A link stays a link, also one that leads nowhere, and its target is not written to."""
    host.policy.symlink_to("/nonexistent/policy")
    host.run("test")
    assert "/nonexistent/policy" == os.readlink(host.policy)


@pytest.fixture
def hanging(host: Host) -> Iterator[subprocess.Popen[str]]:
    """Return a set-up whose apt-get is at work and does not come to an end."""
    host.policy.write_text(HOST_POLICY)
    with host.start("test", HANG="1") as process:
        until(lambda: bool(host.called("hanging")))
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_the_policy_is_put_back_when_it_is_interrupted(
    host: Host, hanging: subprocess.Popen[str], number: signal.Signals
) -> None:
    """Ctrl-C in the middle of apt-get puts the policy back and disables what was installed by then."""
    os.killpg(hanging.pid, number)
    assert 128 + number == hanging.wait(TIMEOUT)
    assert HOST_POLICY == host.policy.read_text()
    assert [host.policy] == list(host.policy.parent.iterdir())
    assert host.called("update-rc.d")


def test_what_a_killed_run_left_is_put_right_by_the_next(host: Host, hanging: subprocess.Popen[str]) -> None:
    """After a kill -9 the next run does not take our own policy for the host's."""
    os.killpg(hanging.pid, signal.SIGKILL)
    hanging.wait(TIMEOUT)
    assert HOST_POLICY != host.policy.read_text()
    host.run("test")
    assert HOST_POLICY == host.policy.read_text()
    assert [host.policy] == list(host.policy.parent.iterdir())


def test_a_second_run_waits_for_the_first(host: Host, hanging: subprocess.Popen[str]) -> None:
    """Two at once do not put the policy back under each other's hands."""
    with host.start("run") as second:
        until(lambda: "flock" in map(name_of, descendants(second.pid)))
        assert 1 == len(host.called("policy"))
        os.killpg(hanging.pid, signal.SIGTERM)
        second.communicate(timeout=TIMEOUT)
    assert ["policy says 101"] * 2 == host.called("policy")
    assert HOST_POLICY == host.policy.read_text()


def test_the_lists_are_fetched_only_when_they_do_not_know_a_package(host: Host) -> None:
    """A package that apt-get does not know brings an update; one that it knows does not."""
    host.run("run")
    assert [] == host.called(" update")
    (host.bin / "zz-tcpserver").unlink()
    host.run("run", SIMULATE="100")
    assert 1 == len(host.called(" update"))


def test_what_only_tests_want_and_debian_has_not_is_left_out(host: Host) -> None:
    """One line names it, also for an ordinary user, and where that was all there is nothing to install."""
    status, output, _ = host.run("test", UNKNOWN="zz-daemon")
    left_out, installing, *_ = output.splitlines()
    assert (0, left_out) == (
        status,
        "Not in this release of Debian; tests do without or are skipped: zz-daemon",
    )
    assert "Installing these Debian packages: zz-server" == installing
    (host.bin / "zz-daemond").unlink()
    assert (0, f"{left_out}\n", "") == host.run("test", UNKNOWN="zz-daemon", FAKE_UID="1000")


def test_what_the_demo_needs_is_asked_for_all_the_same(host: Host) -> None:
    """A release that does not know it ends the set-up with apt-get's own words."""
    status, output, _ = host.run("run", UNKNOWN="zz-server", BREAK="1")
    assert 100 == status
    assert "Not in this release" not in output


def test_a_system_without_lists_fetches_them_first(host: Host) -> None:
    """What the release has is known after that; who is not root is told to have it done."""
    status, output, errors = host.run("test", NO_LISTS="1", UNKNOWN="zz-daemon", FAKE_UID="1000")
    assert (1, "", 1) == (status, output, errors.count("\n"))
    assert errors.endswith(" have root run: apt-get update\n")
    assert 0 == host.run("test", NO_LISTS="1", UNKNOWN="zz-daemon")[0]
    assert 1 == len(host.called(" update"))
    assert host.called("apt-get")[-1].endswith(" install zz-server")


def test_stale_lists_are_fetched_anew(host: Host) -> None:
    """Where a named file is no longer on the mirror, it updates and tries once more."""
    status, _, _ = host.run("run", STALE="1")
    assert 0 == status
    assert 1 == len(host.called(" update"))


def test_a_failed_installation_stops_make(host: Host) -> None:
    """apt-get's failure is the set-up's."""
    status, _, _ = host.run("run", BREAK="1")
    assert 100 == status


def test_the_table_of_packages_is_well_formed() -> None:
    """Each package stands once, with a program, a set and a reason."""
    lines = (SETUP / "packages").read_text().splitlines()
    rows = [line.split(maxsplit=3) for line in lines if not line.startswith("#")]
    assert {4} == {len(row) for row in rows}
    assert len(rows) == len({row[0] for row in rows})
    assert {"build", "deb", "run", "test", "bench", "browser"} == {row[2] for row in rows}


def test_the_set_up_uses_no_more_than_a_posix_shell() -> None:
    """A shell other than bash reads it: Debian's own sh, under its own name."""
    (dash,) = need("dash")
    read = subprocess.run([dash, "-n", SETUP / "packages.sh"], capture_output=True, text=True, check=False)
    assert (0, "") == (read.returncode, read.stderr)
