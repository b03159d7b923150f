"""Install the whole product below a prefix, as `make install` does, or remove it.

    PREFIX/bin/qmail-popup, ...-listener, ...-sidecar           the programs
    PREFIX/lib/qmail-popup/                                     their modules, dependencies included
    PREFIX/share/man/man8/                                      their manual pages

No installed file contains PREFIX, so the copy can be moved, mounted read-only and used without the checkout.
All byte code is compiled here, unless --no-compile leaves that to the host, and never checked against its
source again. An older copy is replaced file by file, each with one rename: a session that starts meanwhile
finds either the old file or the new one, complete.
"""

from __future__ import annotations  # so that an older Python reaches main, which rejects it

import argparse
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

import bytecode
from starters import LISTENER, POPUP, SIDECAR

MIN_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parents[1]
LIB = Path("lib/qmail-popup")
PROGRAMS = {
    "bin/qmail-popup": POPUP,
    "bin/qmail-popup-listener": LISTENER,
    "bin/qmail-popup-sidecar": SIDECAR,
}
# The kernel reads one word after #!, and 255 bytes of the line, which also has to hold " -IS".
MAX_INTERPRETER = 240
PAGES = ("qmail-popup.8", "qmail-popup-listener.8", "qmail-popup-sidecar.8")
# Directories with the dependencies' own tests.
TESTS = ("tests", "testdata")

INSTALLED = """\
Installed below {prefix}:
  {programs}
  lib/qmail-popup  their modules
  share/man/man8   {pages}
"""
NEXT = """\
Nothing is running yet. For the next steps, see {checkout}/deploy:
  daemontools/README.md or systemd/README.md   to set it up
  OPERATIONS.md, "Upgrade"                     if an older copy was running
"""
UNINSTALLED = """\
Removed the programs, modules and manual pages below {prefix}. Settings, counts and logs stay in
/etc/qmail-popup, /var/lib/qmail-popup, /var/spool/qmail-popup and /var/log/qmail-popup.
"""


def main() -> None:
    """Install or uninstall, as the command line says; one line and status 1 if that fails."""
    if sys.version_info < MIN_PYTHON:
        sys.exit("install: needs Python 3.11 or newer, and this is {}.{}".format(*sys.version_info))
    asked = _asked()
    prefix = Path(f"{asked.destdir}/{asked.prefix}") if asked.destdir else asked.prefix
    os.umask(0o022)  # popups of any user must be able to read the files
    try:
        print(_uninstalled(prefix) if asked.uninstall else _installed(prefix, asked), end="")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"install: {_explain(error)}")


def _explain(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):  # what it said is above
        return f"this command failed: {shlex.join(map(str, error.cmd))}"
    if isinstance(error, PermissionError) and error.filename is not None:
        return f"no permission to write {error.filename}: run this as root, or choose another PREFIX="
    return str(error)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="install", description=__doc__, allow_abbrev=False)
    parser.add_argument("--prefix", type=Path, default=Path("/usr/local"))
    parser.add_argument("--destdir", default="")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--no-compile", action="store_true", help="make no byte code: bytecode.py will")
    parser.add_argument("--uninstall", action="store_true")
    asked = parser.parse_args()
    if not asked.prefix.is_absolute():
        parser.error(f"the prefix must be an absolute path: {asked.prefix}")
    if not os.path.isabs(asked.python) or " " in asked.python or len(asked.python) > MAX_INTERPRETER:
        parser.error(f"the interpreter must be a short absolute path without spaces: {asked.python}")
    return asked


def install(prefix: Path, python: str, *, compiles: bool) -> None:
    """Install everything below `prefix`, to be run by `python`."""
    prefix.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".qmail-popup-", dir=prefix) as scratch:
        stage = Path(scratch) / "stage"
        _lay_out(stage, python, compiles=compiles)
        _move(stage, prefix)


def _installed(prefix: Path, asked: argparse.Namespace) -> str:
    """Install, and return what to say about it."""
    install(prefix.absolute(), asked.python, compiles=not asked.no_compile)
    pages = ", ".join(page.replace(".8", "(8)") for page in PAGES)
    text = INSTALLED.format(prefix=prefix, programs=", ".join(PROGRAMS), pages=pages)
    return text if asked.destdir else text + NEXT.format(checkout=ROOT)


def _uninstalled(prefix: Path) -> str:
    uninstall(prefix)
    return UNINSTALLED.format(prefix=prefix)


def uninstall(prefix: Path) -> None:
    """Remove exactly what `install` put below `prefix`."""
    for file in [*PROGRAMS, *(f"share/man/man8/{page}" for page in PAGES)]:
        (prefix / file).unlink(missing_ok=True)
    shutil.rmtree(prefix / LIB, ignore_errors=True)


def _lay_out(stage: Path, python: str, *, compiles: bool) -> None:
    lib = stage / LIB
    lib.mkdir(parents=True)
    for package in ("qmail_popup", "observability"):
        shutil.copytree(ROOT / package, lib / package, ignore=shutil.ignore_patterns("__pycache__"))
    _dependencies(lib / "site-packages", stage.parent)
    if compiles:
        bytecode.write(lib)
    for page in PAGES:
        text = (ROOT / "deploy/man" / page).read_text(encoding="utf-8")
        _write(stage / "share/man/man8" / page, text, 0o644)
    for program, text in PROGRAMS.items():
        _write(stage / program, text.replace("@PYTHON@", python), 0o755)


def _write(file: Path, text: str, mode: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)


def _dependencies(target: Path, scratch: Path) -> None:
    """Install the sidecar's dependencies into `target`, with a pip that leaves no trace of itself."""
    # ensurepip would install pip in the environment, which takes longer than all that pip itself has to do.
    with zipfile.ZipFile(_pip_wheel()) as wheel:
        wheel.extractall(scratch / "pip")
    _run(sys.executable, "-m", "venv", "--without-pip", scratch / "venv")
    wanted = _run(sys.executable, ROOT / "deploy/setup/requirements.py").split()
    pip = (scratch / "venv/bin/python", scratch / "pip/pip", "--disable-pip-version-check", "-qq")
    _run(*pip, "install", "--no-compile", "--target", target, *wanted)
    shutil.rmtree(target / "bin", ignore_errors=True)  # scripts of the temporary interpreter
    for name in TESTS:
        for directory in [*target.rglob(f"{name}/")]:
            shutil.rmtree(directory)


def _pip_wheel() -> Path:
    """Return the pip that Python brings: in the system's directory of wheels, or in Python's own library."""
    places = (sysconfig.get_config_var("WHEEL_PKG_DIR"), f"{sysconfig.get_path('stdlib')}/ensurepip/_bundled")
    for wheel in (wheel for place in places if place for wheel in Path(place).glob("pip-*.whl")):
        return wheel
    raise OSError("this Python has no pip; on Debian, install python3-venv")


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _move(stage: Path, prefix: Path) -> None:
    """Move each staged file into place, programs last, then remove what only the older copy had."""
    staged = _files(stage, stage)
    for file in sorted(staged, key=lambda file: (file.as_posix() in PROGRAMS, file)):
        (prefix / file).parent.mkdir(parents=True, exist_ok=True)
        (stage / file).replace(prefix / file)
    for old in _files(prefix / LIB, prefix) - staged:
        (prefix / old).unlink()
    for directory in sorted((prefix / LIB).rglob("*/"), reverse=True):
        with contextlib.suppress(OSError):  # not empty; empty ones must go: they could be imported
            directory.rmdir()


def _files(directory: Path, base: Path) -> set[Path]:
    return {file.relative_to(base) for file in directory.rglob("*") if not file.is_dir()}


if __name__ == "__main__":
    main()
