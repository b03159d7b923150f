"""sdist and wheel: what is in them, and that the product runs from them."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from qmail_popup import VERSION
from tests.support.descriptors import CHECKOUT
from tests.support.installed import LIB, PYTHON, files, works

# What tools leave in a checkout; and hidden files, which are git's and a continuous integration's.
LEFT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
GENERATED = ("PKG-INFO", "setup.cfg", "qmail_popup.egg-info/")
PACKAGES = ("qmail_popup", "observability")


class Built(NamedTuple):
    """A checkout's files, and what was built of them."""

    checkout: frozenset[str]
    sdist: Path
    wheel: Path


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that is to succeed; its output."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build both, the wheel from the sdist, in a checkout with nothing else in it."""
    directory = tmp_path_factory.mktemp("packaging")
    checkout, out = directory / "checkout", directory / "dist"
    shutil.copytree(CHECKOUT, checkout, ignore=LEFT)
    before = frozenset(files(checkout))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, cwd=checkout)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Built(before, sdist, wheel)


def test_the_sdist_is_a_whole_checkout(built: Built, tmp_path: Path) -> None:
    """Whoever has it can test, install and package all that we can; some tests run there, to see that."""
    run("tar", "-xzf", built.sdist, "-C", tmp_path, cwd=tmp_path)
    unpacked = tmp_path / f"qmail_popup-{VERSION}"
    found = [file for file in files(unpacked) if not file.startswith(GENERATED)]
    assert sorted(built.checkout) == sorted(found)
    run(sys.executable, "-m", "pytest", "-q", "tests/qmail_popup/test_settings.py", cwd=unpacked)


def test_the_wheel_is_both_packages(built: Built) -> None:
    """With all their modules, and nothing but them and what describes them."""
    with zipfile.ZipFile(built.wheel) as archive:
        found = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert sorted(file for file in built.checkout if file.startswith(PACKAGES)) == sorted(found)


def test_it_runs_from_the_wheel(built: Built, installed: Path, tmp_path: Path) -> None:
    """In a fresh environment, with the dependencies that it names, and without the checkout."""
    run(PYTHON, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv/bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-compile", "--no-deps", built.wheel, cwd=tmp_path)
    (site_packages,) = (tmp_path / "venv/lib").glob("*/site-packages")
    (site_packages / "dependencies.pth").write_text(f"{installed / LIB}/site-packages\n")  # made already
    assert "No broken requirements found.\n" == run(*pip, "check", cwd=tmp_path)
    works([python, "-m", "qmail_popup"], cwd=tmp_path)
    assert f"qmail-popup {VERSION}\n" == run(python, "-m", "qmail_popup", "--version", cwd=tmp_path)
    script = tmp_path / "venv/bin/qmail-popup-sidecar"
    for sidecar in ([python, "-m", "observability"], [script]):
        assert f"qmail-popup-sidecar {VERSION}\n" == run(*sidecar, "--version", cwd=tmp_path)
