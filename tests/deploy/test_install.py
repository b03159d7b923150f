"""The installed product: it works wherever a packager puts it, for whoever runs it, from anywhere."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.descriptors import CHECKOUT
from tests.support.installed import LIB, STARTER, files, sidecar_works, unreadable, works
from tests.support.programs import need_root

NOBODY = 65534
_PROGRAMS = ("", "-listener", "-sidecar")
HOSTILE = (
    "os",
    "select",
    "posix",
    "marshal",
    "gc",
    "sys",
    "time",
    "errno",
    "qmail_popup",
    "boot",
    "sqlite3",
    "typing",
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a new directory that any user may enter, as those of a test's own are not."""
    with tempfile.TemporaryDirectory(prefix="installed-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def prefix(installed: Path, directory: Path) -> Path:
    """Return a copy of what was installed, at another place than it was installed to."""
    return Path(shutil.copytree(installed, directory / "moved", copy_function=os.link, symlinks=True))


@pytest.fixture
def hostile(directory: Path) -> Path:
    """Return a directory with modules of well-known names that nobody must import."""
    place = directory / "hostile"
    place.mkdir()
    for name in HOSTILE:
        (place / f"{name}.py").write_text("import posix\nposix.write(1, b'hostile')\nposix._exit(99)\n")
    return place


def test_moved(prefix: Path) -> None:
    """Nothing in it knows where it was installed to."""
    works([prefix / STARTER])
    sidecar_works(prefix)


def test_what_is_installed(installed: Path) -> None:
    """The programs, their pages, and all else below one directory."""
    below = {file for file in files(installed) if not file.startswith(f"{LIB}/")}
    pages = {f"share/man/man8/qmail-popup{end}.8" for end in _PROGRAMS}
    assert {*(STARTER + end for end in _PROGRAMS), *pages} == below


def test_it_knows_no_place(installed: Path) -> None:
    """Nothing names the checkout or the place that it was installed to, the dependencies included."""
    # In a checkout right below / its bare name is a word of others; a file in it is not.
    places = (os.fsencode(CHECKOUT / "qmail_popup"), os.fsencode(CHECKOUT / "deploy"), os.fsencode(installed))
    assert [] == [name for name, data in files(installed).items() if any(place in data for place in places)]


def test_read_only_for_another_user(prefix: Path, hostile: Path) -> None:
    """Somebody who may only read it runs it, and leaves nothing behind."""
    need_root()
    before = files(prefix)

    def become_nobody() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)

    works([prefix / STARTER], hostile, become_nobody)
    assert before.keys() == files(prefix).keys()


def test_all_may_read_it(installed: Path) -> None:
    """Popups of any user run from it, whatever the umask was."""
    assert [] == unreadable(installed)


@pytest.mark.parametrize(
    "start", ["{}/bin/qmail-popup", "../moved/bin/qmail-popup", "./../moved/bin/../bin/qmail-popup"]
)
def test_from_a_hostile_directory(prefix: Path, hostile: Path, start: str) -> None:
    """Modules of the directory that it is started in are none of its own, however its path is written."""
    works([start.format(prefix)], hostile)
    sidecar_works(prefix, hostile)


def test_from_its_own_directory(prefix: Path) -> None:
    """A path without a directory before bin works."""
    works([STARTER], prefix)
    works(["./qmail-popup"], prefix / "bin")


def test_through_path(prefix: Path, hostile: Path) -> None:
    """It is found by its name, as in a run script."""
    works(["/usr/bin/env", f"PATH={prefix}/bin:/usr/bin:/bin", "qmail-popup"], hostile)


@pytest.mark.parametrize("link", ["bin/link", "elsewhere/qmail-popup"])
def test_through_a_link(prefix: Path, hostile: Path, link: str) -> None:
    """A symbolic link to it is as good, and so is a link to that."""
    (hostile / link).parent.mkdir()
    (hostile / link).symlink_to(prefix / STARTER)
    (hostile / "again").symlink_to(link)
    works([hostile / link], hostile)
    works([hostile / "again"], hostile)


def test_another_python_s_byte_code(prefix: Path, hostile: Path) -> None:
    """Without a bundle for the Python that runs it, it runs from its sources, and writes none."""
    (bundle,) = (prefix / LIB).glob("popup.*")
    bundle.rename(bundle.with_name("popup.cpython-399"))
    before = files(prefix)
    works([prefix / STARTER], hostile)
    assert before.keys() == files(prefix).keys()


def test_a_reload_while_the_listener_starts(installed: Path, tmp_path: Path) -> None:
    """SIGHUP does not end it: here it is still reading its certificate, and goes on to say what is wrong."""
    certificate = tmp_path / "pop.pem"
    os.mkfifo(certificate)
    command: list[str | Path] = [installed / "bin/qmail-popup-listener", "--pop3", "127.0.0.1:0"]
    command += ["--tls-certificate", certificate, "pop.example.org", "/bin/true"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as listener:
        with certificate.open("w"):  # waits until the listener reads
            listener.send_signal(signal.SIGHUP)
        assert (
            f"qmail-popup-listener: no certificate in {certificate}"
            == (
                listener.communicate()[1].splitlines()[-1]  # behind what is said to who is not root
            )
        )
        assert 2 == listener.returncode
