"""Installing, upgrading and taking away. Each takes a while: the sidecar's dependencies come with it."""

import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.descriptors import CHECKOUT
from tests.support.installed import LIB, PYTHON, STARTER, files, sidecar_works, unreadable, works
from tests.support.popup import LOGIN
from tests.support.programs import environ_without_make, need_root, need_shared

NOBODY = 65534
OTHERS = "bin/somebody-else-s"
_PAUSE_SECONDS = 0.5  # between sessions, until all is laid out and files begin to be replaced


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a new directory that any user may enter, as those of a test's own are not."""
    with tempfile.TemporaryDirectory(prefix="installed-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def installer(checkout: Path, *options: str) -> list[str]:
    """Return the command line of a checkout's installer, under the umask of a careful root."""
    start = [PYTHON, "-IS", "-c", "import os, sys; os.umask(0o077); os.execv(sys.argv[1], sys.argv[1:])"]
    return [*start, PYTHON, str(checkout / "deploy/install.py"), *options]


def install(checkout: Path, *options: str) -> tuple[int, str]:
    """Run the installer; its status and all that it says."""
    command = installer(checkout, *options)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def checkout_copy(target: Path) -> None:
    """Copy what the installer needs of a checkout."""
    target.mkdir()
    for name in ("qmail_popup", "observability", "deploy", "pyproject.toml"):
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)


def plant(prefix: Path) -> None:
    """Put files of an older copy there, and one of somebody else's."""
    for name in ("qmail_popup/old.py", "site-packages/old/old.py", "popup.cpython-310"):
        file = prefix / LIB / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("raise SystemExit('old')")
    (prefix / OTHERS).touch()


@pytest.mark.usefixtures("offline")
def test_a_packager_s_way(installed: Path, directory: Path) -> None:
    """With DESTDIR, over an older copy while sessions start, without the checkout, and away again."""
    checkout, destdir = directory / "checkout", directory / "destdir"
    checkout_copy(checkout)
    options = ["--prefix", "/opt/mail", "--destdir", str(destdir), "--python", PYTHON]
    prefix = Path(shutil.copytree(installed, destdir / "opt/mail", symlinks=True))
    plant(prefix)
    sessions, said = _sessions_during(installer(checkout, *options), prefix)
    assert 0 < sessions
    assert said.splitlines()[0] == f"Installed below {prefix}:"
    assert (["opt"], []) == (os.listdir(destdir), unreadable(prefix))
    assert {*files(installed), OTHERS} == files(prefix).keys()
    assert not (prefix / LIB / "site-packages/old").exists()  # it would still be found, as an empty package

    shutil.rmtree(checkout)
    moved = prefix.rename(directory / "mail")
    works([moved / STARTER])
    sidecar_works(moved)
    _make_uninstall(moved)
    assert [OTHERS] == list(files(moved))
    _make_uninstall(moved)
    assert not (moved / LIB).exists()


def _make_uninstall(prefix: Path) -> None:
    command = ["make", "-s", "-C", str(CHECKOUT), "uninstall", f"PREFIX={prefix}"]
    done = subprocess.run(command, env=environ_without_make(), capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    assert "/var/lib/qmail-popup" in done.stdout  # what is left, for whoever wants that gone as well


def _sessions_during(command: list[str], prefix: Path) -> tuple[int, str]:
    """Run sessions while an installer is at work; how many, and what it said. All must go well, it too.

    They are one after the other while it replaces files: the programs, laid out last, are moved last.
    """
    sessions, starter = 0, prefix / STARTER
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as working:
        assert working.stdout
        pause = _PAUSE_SECONDS
        while not select.select([working.stdout], [], [], pause)[0]:
            sessions += _is_served(starter)
            pause = 0 if any(prefix.glob(f".qmail-popup-*/stage/{STARTER}")) else _PAUSE_SECONDS
        said = working.stdout.read()
    assert 0 == working.returncode
    return sessions + _is_served(starter), said


def _is_served(starter: Path) -> bool:
    done = subprocess.run([starter, "h", "/bin/true"], input=LOGIN, capture_output=True, check=False)
    assert (0, b"+OK\r\n+OK \r\n", b"") == (done.returncode, done.stdout, done.stderr)
    return True


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--prefix", "relative"], "absolute"),
        (["--prefix", "/x", "--python", "python3"], "interpreter"),
        (["--prefix", "/x", "--python", "/with a/space"], "interpreter"),
        (["--prefix", "/x", "--python", "/" + "x" * 250], "interpreter"),
    ],
)
def test_what_cannot_be_installed(options: list[str], word: str) -> None:
    """A prefix or an interpreter that no starter could use is refused in one clear line."""
    status, said = install(CHECKOUT, *options)
    assert 2 == status
    assert word in said.splitlines()[-1]


def test_what_it_says(installed: Path) -> None:
    """What it has put where, each of which is there, and the pages that tell what to do next."""
    text, then = installed.with_name("said").read_text().split("For the next steps, see ")
    named = [line.split("  ")[1] for line in text.splitlines() if line.startswith("  ")]
    places = [path for words in named for path in words.split(", ")]
    assert {STARTER, f"{STARTER}-sidecar", LIB, "share/man/man8"} <= {*places}
    assert [] == [place for place in places if not (installed / place).exists()]
    base, *pages = then.splitlines()
    words = [word for page in pages for word in page.split() if word.strip(",").endswith(".md")]
    assert len(words) == 3
    assert [True] * 3 == [(Path(base.removesuffix(":")) / word.strip(",")).exists() for word in words]


def test_everybody_may_read_it(installed: Path) -> None:
    """Also where root's umask is a careful one, as it was there."""
    assert [] == unreadable(installed)


def test_who_may_not_write_there_is_told_of_root_and_prefix(directory: Path) -> None:
    """In one line."""
    need_root()
    need_shared(CHECKOUT)
    command = [PYTHON, str(CHECKOUT / "deploy/install.py"), "--prefix", str(directory / "below")]
    done = subprocess.run(command, user=NOBODY, capture_output=True, text=True, check=False)
    assert (1, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert "root" in done.stderr
    assert "PREFIX=" in done.stderr


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """One clear line, and no traceback."""
    file = tmp_path / "file"
    file.touch()
    status, said = install(CHECKOUT, "--prefix", str(file / "prefix"), "--python", PYTHON)
    assert (1, 1) == (status, len(said.splitlines()))
    assert said.startswith("install: ")


def test_without_a_package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that failed is shown as it would be typed, and nothing is left."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    status, said = install(CHECKOUT, "--prefix", str(tmp_path), "--python", PYTHON)
    last = said.splitlines()[-1]
    assert (1, True) == (status, last.startswith(f"install: this command failed: {tmp_path}/.qmail-popup-"))
    assert "'protobuf>=" in last
    assert [] == list(tmp_path.iterdir())


# As Debian's is without python3-venv.
_BARE = """\
import os, runpy, sys, sysconfig
sysconfig.get_config_var = sysconfig.get_path = lambda _: "/nowhere"
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_python_without_pip_is_told(tmp_path: Path) -> None:
    """One clear line that names the package, and nothing is left."""
    command = [PYTHON, "-c", _BARE, str(CHECKOUT / "deploy/install.py"), "--prefix", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (1, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert "python3-venv" in done.stderr
    assert [] == list(tmp_path.iterdir())
