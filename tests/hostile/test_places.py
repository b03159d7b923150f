"""The installed popup in hostile directories: started anywhere, moved anywhere, writing nowhere."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.descriptors import CHECKOUT
from tests.support.popup import LOGIN, Popup, shell

_REPLIES = b"+OK\r\n+OK \r\n"
_TRAP = "import posix\nposix.write(2, b'trapped by ' + __name__.encode())\nposix._exit(99)\n"
_MODULES = (
    "os",
    "posix",
    "select",
    "sys",
    "time",
    "signal",
    "site",
    "encodings",
    "qmail_popup",
    "observability",
)


def _trap(directory: Path) -> Path:
    """Lay modules and packages that end whoever imports them."""
    for name in _MODULES:
        (directory / f"{name}.py").write_text(_TRAP)
        (directory / name).mkdir()
        (directory / name / "__init__.py").write_text(_TRAP)
        (directory / name / "__main__.py").write_text(_TRAP)
    return directory


def _works(prefix: Path, cwd: Path, env: dict[str, str] | None = None) -> None:
    """Serve a login from `cwd`."""
    command = [str(prefix / "bin/qmail-popup")]
    with Popup(
        command, shell("echo $PYTHONPATH"), cwd=cwd, env={"PATH": os.environ["PATH"], **(env or {})}
    ) as running:
        said = running.talk(LOGIN)
        assert b"" == running.errors()
        assert _REPLIES + (env or {}).get("PYTHONPATH", "").encode() + b"\n" == said
        assert (0, [running.record("Accept")]) == (running.status(), running.records())


def test_a_working_directory_full_of_traps(installed: Path, tmp_path: Path) -> None:
    """Nothing is imported from where the server happens to stand."""
    _works(installed, _trap(tmp_path))


def test_an_environment_full_of_traps(installed: Path, tmp_path: Path) -> None:
    """The interpreter's own variables are for a subprogram that wants them; the popup does not heed them."""
    traps = {
        "PYTHONPATH": str(_trap(tmp_path)),
        "PYTHONHOME": "/nonexistent",
        "PYTHONINSPECT": "1",
        "PYTHONVERBOSE": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONIOENCODING": "nonsense",
        "PYTHONMALLOC": "nonsense",
        "PYTHONUTF8": "2",
        "PYTHONCOERCECLOCALE": "warn",
    }
    _works(installed, tmp_path, traps)


def test_a_working_directory_that_is_gone(installed: Path, tmp_path: Path) -> None:
    """A server may outlive the directory that it was started in."""
    gone = tmp_path / "gone"
    gone.mkdir()
    command = [str(installed / "bin/qmail-popup")]
    with Popup(command, cwd=gone, prepare=lambda: os.rmdir(gone)) as running:
        assert _REPLIES == running.talk(LOGIN)
        assert (0, b"") == (running.status(), running.errors())


def test_a_prefix_that_was_moved(installed: Path, tmp_path: Path) -> None:
    """A packager makes it in one place and puts it in another, with spaces in its name if need be."""
    moved = tmp_path / "some other place"
    shutil.copytree(installed, moved, symlinks=True)
    _works(moved, tmp_path)


def test_it_is_started_through_a_link(installed: Path, tmp_path: Path) -> None:
    """As from a directory of links into /opt."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/qmail-popup").symlink_to(installed / "bin/qmail-popup")
    _works(tmp_path, tmp_path)


def test_a_session_writes_nothing_below_its_prefix(installed: Path, tmp_path: Path) -> None:
    """So that a prefix that cannot be written to costs nothing: no byte code is made again at each start."""
    copy = tmp_path / "prefix"
    shutil.copytree(installed, copy, symlinks=True)
    before = _state(copy)
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    _works(copy, tmp_path)
    assert before == _state(copy)


def _state(directory: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in directory.rglob("*")}


def test_the_checkout_may_be_gone(installed: Path) -> None:
    """No file that is ours knows where it was made."""
    files = [path for path in installed.rglob("*") if path.is_file() and "site-packages" not in path.parts]
    assert any(path.name == "qmail-popup" for path in files)
    assert [] == [path for path in files if os.fsencode(CHECKOUT) in path.read_bytes()]


@pytest.mark.parametrize("name", ["LC_ALL", "LANG", "LC_CTYPE"])
@pytest.mark.parametrize("value", ["C", "POSIX", "de_DE.ISO-8859-1", "nonsense", "\udcff"])
def test_any_locale_and_bytes_that_are_no_text(installed: Path, name: str, value: str) -> None:
    """Arguments and environment are bytes, whatever the interpreter takes them for."""
    odd = b"h\xc3\xf6\xff"
    env = {b"PATH": b"/bin", os.fsencode(name): os.fsencode(value), b"ODD\xfe": odd, b"POP3AUTH": b"apop"}
    command = [str(installed / "bin/qmail-popup")]
    with Popup(
        command, [b"/bin/sh", b"-c", b'printf %s "$1"; cat /proc/$$/environ', b"sh", odd], env=env
    ) as running:
        said = running.talk(LOGIN)
        assert (0, b"") == (running.status(), running.errors())
    shown = said.split(b"\r\n", 2)[2]
    assert shown.startswith(odd)
    assert {b"=".join(item) for item in env.items()} <= set(shown.removeprefix(odd).split(b"\0"))
