"""Build a Debian package of this checkout with dpkg-deb alone: `build.py --output DIR` prints its path.

Owns where Debian puts each file of the checkout. install.py decides what is installed; postinst, prerm and
postrm act on the host. The package works with every Python from 3.11 on: byte code is compiled on the host,
and again whenever its Python changes.
"""

import argparse
import email.utils
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DOC = Path("usr/share/doc/qmail-popup")
UNITS = Path("usr/lib/systemd/system")
LIB = Path("usr/lib/qmail-popup")
SITE_PACKAGES = LIB / "site-packages"
COMPILED = "*.cpython-*.so"  # for one version of Python; each has a Python equivalent beside it
SCRIPTS = ("postinst", "prerm", "postrm")
PYTHON = "/usr/bin/python3"  # Debian's, whichever Python runs this
COMMON = "/usr/share/common-licenses"
MAINTAINER = "The qmail-popup authors <qmail-popup@example.org>"

UNIT_NAMES = (
    "qmail-popup-listener.socket",
    "qmail-popup-listener-pop3s.socket",
    "qmail-popup-listener.service",
    "qmail-popup-pop3.socket",
    "qmail-popup-pop3@.service",
    "qmail-popup-pop3s.socket",
    "qmail-popup-pop3s@.service",
    "qmail-popup-sidecar.socket",
    "qmail-popup-sidecar.service",
)
PLACES = {
    **{f"deploy/systemd/{name}": UNITS / name for name in UNIT_NAMES},
    "deploy/systemd/sysusers.d/qmail-popup.conf": Path("usr/lib/sysusers.d/qmail-popup.conf"),
    "deploy/systemd/tmpfiles.d/qmail-popup.conf": Path("usr/lib/tmpfiles.d/qmail-popup.conf"),
    "deploy/systemd/tcp-environ": Path("usr/libexec/qmail-popup/tcp-environ"),
    **{f"deploy/{name}.py": LIB / f"compile/{name}.py" for name in ("boot", "bundle", "bytecode")},
    "deploy/debian/rtupdate": Path("usr/share/python3/runtime.d/qmail-popup.rtupdate"),
    "deploy/debian/README.Debian": DOC / "README.Debian",
}
# The documents, and everything they link to, in the same layout below DOC, so that all links work.
DOCUMENTS = (
    "*.md",
    "dashboards/*.json",
    "dashboards/*.md",
    "dashboards/*.png",
    "dashboards/rules/*.yml",
    "deploy/**/*.md",
    "deploy/alertmanager/*",
    "deploy/compose.yaml",
    "deploy/compose/**/*",
    "deploy/crowdsec/**/*",
    "deploy/daemontools/**/*",
    "deploy/debian/README.Debian",
    "deploy/fail2ban/**/*",
    "deploy/fleet/**/*",
    "deploy/man/*",
    "deploy/otel-collector/*",
    "deploy/prometheus/**/*",
    "deploy/tls/*",
)


def main() -> None:
    """Build the package; one line and status 1 if that fails."""
    parser = argparse.ArgumentParser(prog="build", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=Path("dist"))
    parser.add_argument("--maintainer", default=MAINTAINER)
    asked = parser.parse_args()
    os.umask(0o022)
    try:
        asked.output.mkdir(parents=True, exist_ok=True)
        print(build(asked.output, asked.maintainer))
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"build: {error}")


def build(output: Path, maintainer: str) -> Path:
    """Build the package into the directory `output`; return its path."""
    version, architecture = _version(), _run("dpkg", "--print-architecture").strip()
    package = output / f"qmail-popup_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory(prefix="qmail-popup-") as scratch:
        stage = Path(scratch) / "stage"
        install = (PYTHON, ROOT / "deploy/install.py", "--no-compile", "--python", PYTHON)
        _run(*install, "--prefix", "/usr", "--destdir", stage)
        _for_any_python(stage / LIB)
        _lay_out(stage)
        _document(stage, version, maintainer)
        _modes(stage)
        words = {"VERSION": version, "ARCHITECTURE": architecture, "MAINTAINER": maintainer}
        _control(stage, words)
        _run("dpkg-deb", "--root-owner-group", "--build", stage, package)
    return package


def _version() -> str:
    """Return the version from the source; the package is native, so it has no Debian revision."""
    source = (ROOT / "qmail_popup/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^VERSION = "(.+)"$', source, re.MULTILINE)
    if not found:
        raise OSError("qmail_popup/__init__.py has no VERSION")
    return found[1]


def _for_any_python(lib: Path) -> None:
    """Remove modules compiled for one Python version, and the debugging symbols of other compiled files."""
    for module in [*lib.rglob(COMPILED)]:
        module.unlink()
    for library in lib.rglob("*.so"):
        _run("strip", "--strip-unneeded", library)


def _lay_out(stage: Path) -> None:
    for source, place in PLACES.items():
        (stage / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, stage / place)
    for unit in UNIT_NAMES:
        _change(stage / UNITS / unit, {"/usr/local/": "/usr/"})
    for document in filter(Path.is_file, (file for pattern in DOCUMENTS for file in ROOT.glob(pattern))):
        place = stage / DOC / document.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(document, place)
    for file in (stage / DOC).rglob("env/PREFIX"):
        _change(file, {"/usr/local": "/usr"})


def _change(file: Path, words: Mapping[str, str]) -> None:
    text = file.read_text(encoding="utf-8")
    for old, new in words.items():
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def _document(stage: Path, version: str, maintainer: str) -> None:
    """Write what policy requires: compressed pages, the changelog, and all licences."""
    for page in (stage / "usr/share/man").rglob("*.8"):
        _compressed(page.with_name(f"{page.name}.gz"), page.read_text(encoding="utf-8"))
        page.unlink()
    date = email.utils.formatdate(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    entry = "  * For the changes of this release see CHANGELOG.md."
    text = f"qmail-popup ({version}) stable; urgency=medium\n\n{entry}\n\n -- {maintainer}  {date}\n"
    _compressed(stage / DOC / "changelog.gz", text)
    (stage / DOC / "copyright").write_text(_copyright(stage / SITE_PACKAGES), encoding="utf-8")


def _compressed(file: Path, text: str) -> None:
    file.write_bytes(gzip.compress(text.encode(), mtime=0))


def _copyright(site_packages: Path) -> str:
    """Return our licence, and that of each Python package that comes with the sidecar."""
    packages = [package.metadata for package in metadata.distributions(path=[str(site_packages)])]
    lines = sorted(f"    {one['Name']} {one['Version']}: {_licence(one)}\n" for one in packages)
    return (
        f"{(ROOT / 'LICENSE').read_text(encoding='utf-8')}\n"
        f"Apache-2.0 and MPL-2.0 are in {COMMON}/Apache-2.0 and {COMMON}/MPL-2.0 as well.\n"
        f"In /{SITE_PACKAGES}, each with its licence in NAME-VERSION.dist-info:\n\n{''.join(lines)}"
    )


def _licence(package: metadata.PackageMetadata) -> str:
    """Return the name of the licence, which is in either of two fields."""
    return package["License-Expression" if "License-Expression" in package else "License"]


def _modes(stage: Path) -> None:
    """Make everything readable for all, and programs executable, whatever the checkout's umask was."""
    for path in stage.rglob("*"):
        # Some wheels mark modules as executable.
        runs = path.stat().st_mode & 0o100 and not path.is_relative_to(stage / SITE_PACKAGES)
        path.chmod(0o755 if path.is_dir() or runs else 0o644)


def _control(stage: Path, words: Mapping[str, str]) -> None:
    files = sorted(file for file in stage.rglob("*") if file.is_file())
    sums = [f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(stage)}\n" for file in files]  # noqa: S324  dpkg's choice
    size = sum(-(-file.stat().st_size // 1024) for file in files)
    control = stage / "DEBIAN"
    control.mkdir()
    for name in ("control", *SCRIPTS):
        shutil.copy(HERE / name, control)
        (control / name).chmod(0o755 if name in SCRIPTS else 0o644)
    marks = {f"@{name}@": word for name, word in {**words, "SIZE": str(size)}.items()}
    _change(control / "control", marks)
    (control / "md5sums").write_text("".join(sums), encoding="utf-8")


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
