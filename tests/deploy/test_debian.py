"""deploy/debian: the package is built, installed, run, upgraded, removed and purged, by the real dpkg."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from qmail_popup import VERSION
from tests.support.descriptors import CHECKOUT
from tests.support.documents import links
from tests.support.installed import PYTHON
from tests.support.packaged import SIDECAR, SPOOL, STATE, UNITS, Sidecar, log_in, pop3
from tests.support.programs import need
from tests.support.throwaway import ThrowAwayRoot

DOC = "usr/share/doc/qmail-popup"
LIB = "usr/lib/qmail-popup"
SITE_PACKAGES = f"{LIB}/site-packages"
GONE = f"{LIB}/qmail_popup/listener/__main__.py"
# What a sidecar that exports nothing does not import, and which takes long to compile.
UNUSED = tuple(f"{SITE_PACKAGES}/{name}" for name in ("opentelemetry", "google"))

# Triggers are other packages' work, such as an index of manual pages.
DPKG = ("dpkg", "--no-triggers")

LISTENER = (
    "qmail-popup-listener.socket",
    "qmail-popup-listener-pop3s.socket",
    "qmail-popup-listener.service",
)

# What dpkg, systemd and man-db write down for themselves.
NOTES = (
    *(f"/etc/{name}" for name in ("passwd-", "group-", "shadow-", "gshadow-", ".pwd.lock")),
    *(f"/var/{name}" for name in ("cache/man", "lib/dpkg", "lib/systemd", "log")),
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Mapping[str, str]) -> Path:
    """Build the package."""
    need("dpkg-deb", "systemd-sysusers", "systemd-tmpfiles")
    output = tmp_path_factory.mktemp("debian")
    command = [PYTHON, str(CHECKOUT / "deploy/debian/build.py"), "--output", str(output)]
    quickly = {**os.environ, **wheelhouse, "DPKG_DEB_COMPRESSOR_LEVEL": "1"}
    built = subprocess.run(command, env=quickly, capture_output=True, text=True, check=False)
    assert 0 == built.returncode, built.stderr
    return Path(built.stdout.strip())


# systemd itself cannot run there, so this notes what it is asked for, except for what it does to links alone.
# All else is Debian's own.
SYSTEMCTL = """\
#!/bin/sh
case $* in
*is-enabled*) echo enabled ;;
*preset* | disable\\ *) exec /run/systemctl "$@" ;;
*is-active*listener*) [ -e /run/listens ] ;;
*daemon-reload* | reload\\ * | *\\ start\\ * | *restart\\ * | stop\\ *) echo "$*" >>/run/asked ;;
esac
"""


@pytest.fixture(scope="module")
def installed_once(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[ThrowAwayRoot]:
    """Return the machine on which the package was installed, which nobody changes after that."""
    with machine(tmp_path_factory.mktemp("installed")) as root:
        (root.path / "run/systemd/system").mkdir(parents=True)
        systemctl, policy = root.path / "usr/bin/systemctl", root.path / "usr/sbin/policy-rc.d"
        shutil.copy(systemctl, root.path / "run")
        systemctl.write_text(SYSTEMCTL)
        if policy.exists():  # as on a machine that lets nothing start
            policy.write_text("#!/bin/sh\n")
        root.run(*DPKG, "--install", root.take(package))
        yield root


@pytest.fixture
def root(tmp_path: Path, installed_once: ThrowAwayRoot) -> Iterator[ThrowAwayRoot]:
    """Return a machine with the package installed."""
    with machine(tmp_path, installed_once) as root:
        yield root


def machine(directory: Path, begun: ThrowAwayRoot | None = None) -> ThrowAwayRoot:
    """Return a machine as this one is, or as `begun` is."""
    place = directory / "machine"
    place.mkdir()
    return ThrowAwayRoot(place, begun)


def said(*command: str | Path) -> str:
    """Run a command that is to succeed; its output."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.fixture(scope="module")
def unpacked(package: Path) -> Path:
    """Return a directory with all that is in the package, to be read."""
    said("dpkg-deb", "--raw-extract", package, package.parent / "unpacked")
    return package.parent / "unpacked"


def test_what_it_says_of_itself(package: Path) -> None:
    """Its version is the product's; it wants the machine that it was built for, and a Python from 3.11 on."""
    fields = ("Version", "Architecture", "Depends")
    version, machine, depends = (said("dpkg-deb", "--field", package, field).strip() for field in fields)
    assert (VERSION, said("dpkg", "--print-architecture").strip()) == (version, machine)
    assert ["python3 (>= 3.11)"] == [word for word in depends.split(", ") if word.startswith("python3")]


def test_debian_finds_no_error_in_it(package: Path) -> None:
    """Lintian, with all that it knows of errors, is silent."""
    (lintian,) = need("lintian")
    tags = (tag.read_text(encoding="utf-8") for tag in Path("/usr/share/lintian/tags").rglob("*.tag"))
    checks = {_field(tag, "Check") for tag in tags if _field(tag, "Severity") == "error"}
    assert {"debian/copyright", "md5sums", "scripts"} < checks
    part = ("--check-part", ",".join(checks))  # those that know an error, which take half of the time
    command = [lintian, "--fail-on=error", "--display-level=error", "--allow-root", *part, str(package)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stdout)


def _field(tag: str, name: str) -> str:
    return next(line.partition(": ")[2] for line in tag.splitlines() if line.startswith(f"{name}: "))


def test_no_tests_of_dependencies_are_in_it(unpacked: Path) -> None:
    """Nor anything that fits one version of Python alone."""
    names = {path.name for path in (unpacked / LIB).rglob("*")}
    assert set() == names & {"tests", "testdata", "__pycache__"}
    assert [] == [name for name in names if name.startswith("popup.") or ".cpython-" in name]


def byte_code(root: ThrowAwayRoot) -> set[str]:
    """Return for which versions of Python there is byte code of the popup there."""
    lib = root.path / LIB
    caches = {file.name.split(".")[-2] for file in (lib / "qmail_popup/__pycache__").glob("*.pyc")}
    return caches | {file.name.removeprefix("popup.") for file in lib.glob("popup.*")}


def test_byte_code_is_made_on_the_host_and_again_for_another_python(root: ThrowAwayRoot) -> None:
    """Debian calls a hook where its Python changes; what the former one left is gone after that."""
    lib = root.path / LIB
    (mine,) = byte_code(root)
    assert sys.implementation.cache_tag == mine
    (lib / f"popup.{mine}").rename(lib / "popup.cpython-399")
    cache = lib / "qmail_popup/__pycache__"
    (cache / f"session.{mine}.pyc").rename(cache / "session.cpython-399.pyc")
    shutil.rmtree(lib / "site-packages")  # to compile that takes long
    hook = "/usr/share/python3/runtime.d/qmail-popup.rtupdate"
    root.run(hook, "pre-rtupdate", "python3.99", "python3")
    assert {mine, "cpython-399"} == byte_code(root)
    root.run(hook, "rtupdate", "python3.99", "python3")
    assert {mine} == byte_code(root)


def test_what_is_in_it(package: Path, unpacked: Path) -> None:
    """All is root's, its sums are right, and nothing is in /etc, where it would have to be merged."""
    assert {"root/root"} == {line.split()[1] for line in said("dpkg-deb", "--contents", package).splitlines()}
    assert {"DEBIAN", "usr"} == set(os.listdir(unpacked))
    subprocess.run(["md5sum", "--check", "--quiet", "DEBIAN/md5sums"], cwd=unpacked, check=True)


def test_nothing_names_another_prefix(unpacked: Path) -> None:
    """Units, programs and run scripts look below /usr, where the package is."""
    places = ("lib", "usr/bin", "usr/libexec", f"{DOC}/deploy/daemontools")
    files = [file for place in places for file in (unpacked / place).rglob("*") if file.is_file()]
    assert [] == [file for file in files if b"/usr/local" in file.read_bytes()]
    assert not (unpacked / "usr/local").exists()


def test_each_link_of_its_pages_leads_somewhere(unpacked: Path) -> None:
    """What a page links to is in the package, where the page says."""
    pages = list((unpacked / DOC).rglob("*.md"))
    assert {"README.md", "OPERATIONS.md", "SECURITY.md", "runbooks.md"} <= {page.name for page in pages}
    inside = [(page, link.partition("#")[0]) for page in pages for link in links(page) if "://" not in link]
    assert [] == [(page.name, link) for page, link in inside if not (page.parent / link).exists()]


def test_its_licences_are_told(unpacked: Path) -> None:
    """Ours, and each that came with the sidecar's dependencies."""
    ours, theirs = (unpacked / DOC / "copyright").read_text().split("dist-info:\n\n")
    came = (unpacked / LIB / "site-packages").glob("*.dist-info")
    assert ours.startswith((CHECKOUT / "LICENSE").read_text())
    assert len(list(came)) == theirs.count("\n")
    assert "    prometheus_client " in theirs
    assert ": None" not in theirs


def test_it_makes_what_it_needs(root: ThrowAwayRoot) -> None:
    """An account that cannot log in, and directories for it and for popups that are root."""
    account = root.run("getent", "passwd", "qmailpop").strip().split(":")
    assert "/usr/sbin/nologin" == account[-1]
    stat = root.run("stat", "--format=%n %a %U %G", "/run/qmail-popup", SPOOL, STATE)
    assert [
        "/run/qmail-popup 750 qmailpop qmailpop",
        f"{SPOOL} 2770 qmailpop qmailpop",
        f"{STATE} 750 qmailpop qmailpop",
    ] == stat.splitlines()


def enabled(root: ThrowAwayRoot) -> set[str]:
    """Return which units systemd would start with the machine."""
    return {link.name for link in (root.path / "etc/systemd/system").glob("*.wants/qmail-popup*")}


def test_the_sidecar_starts_with_the_machine_and_pop3_does_not(root: ThrowAwayRoot) -> None:
    """Its units are enabled, POP3 waits for the operator, and systemd finds nothing wrong with either."""
    need("systemd-analyze")
    assert {*SIDECAR} == enabled(root)
    pop3 = ("qmail-popup-pop3.socket", "qmail-popup-pop3@.service")
    units = [f"/{UNITS}/{unit}" for unit in (*SIDECAR, *pop3, *LISTENER)]
    assert "" == root.run("systemd-analyze", "verify", *units)


def test_what_is_asked_of_systemd(root: ThrowAwayRoot, unpacked: Path, tmp_path: Path) -> None:
    """The sidecar starts, is another after an upgrade, on the socket that stayed, and stops at the end.

    A listener that runs reloads at an upgrade.
    """
    (root.path / "run/listens").touch()
    package = newer(unpacked, tmp_path, SITE_PACKAGES)  # to compile that takes long
    for action in (["--install", root.take(package)], ["--remove", "qmail-popup"]):
        root.run(*DPKG, *action)
    asked = (root.path / "run/asked").read_text().replace("--quiet --system ", "").splitlines()
    installed = ["daemon-reload", f"start {SIDECAR[0]}", f"restart {SIDECAR[1]}"]
    reloaded = ["reload qmail-popup-listener.service"]
    servers = "qmail-popup-pop3.socket qmail-popup-pop3s.socket " + " ".join(LISTENER)
    removed = [f"stop {servers} {' '.join(SIDECAR)}", "daemon-reload"]
    assert [*installed, *installed, *reloaded, *removed] == asked


def test_a_login_is_served_and_counted(root: ThrowAwayRoot, tmp_path: Path) -> None:
    """With programs, account and directories as they were installed."""
    with Sidecar(root, tmp_path / "log") as sidecar, pop3(root) as server:
        log_in(server)
        assert sidecar.counts(1)
        assert (1, b"") == (len(server.records()), server.errors.read_bytes())


def newer(unpacked: Path, directory: Path, *without: str) -> Path:
    """Make a newer version of the package that is unpacked there, in which files or directories have gone."""
    stage = shutil.copytree(unpacked, directory / "newer", symlinks=True, copy_function=os.link)
    control = stage / "DEBIAN/control"
    text = control.read_text().replace(f"Version: {VERSION}", "Version: 99")
    control.unlink()  # a link
    control.write_text(text)
    said("rm", "-r", *(stage / path for path in without))
    made = directory / "newer.deb"
    said("dpkg-deb", "-Znone", "--build", stage, made)
    return made


def test_an_upgrade(root: ThrowAwayRoot, unpacked: Path, tmp_path: Path) -> None:
    """Nothing of the old version stays; totals, what waits in the spool, and what was switched off do.

    And so it is where no systemd runs.
    """
    shutil.rmtree(root.path / "run/systemd")
    assert ({*SIDECAR}, True) == (enabled(root), (root.path / GONE).exists())
    root.run("systemctl", "disable", *SIDECAR)
    asked = (root.path / "run/asked").read_text()
    with pop3(root) as server:
        with Sidecar(root, tmp_path / "log") as sidecar:
            log_in(server)
            assert sidecar.counts(1)
        log_in(server)
        root.run(*DPKG, "--install", root.take(newer(unpacked, tmp_path, GONE, *UNUSED)))
        assert (set(), False) == (enabled(root), (root.path / GONE).exists())
        with Sidecar(root, tmp_path / "log") as sidecar:
            log_in(server)
            assert sidecar.counts(3)
    assert asked == (root.path / "run/asked").read_text()


def left(root: ThrowAwayRoot) -> set[str]:
    """Return what is there that was not there before, except for what others write down for themselves."""
    return {path for path in root.new() if not path.startswith(NOTES)}


def test_removed_it_leaves_the_totals(root: ThrowAwayRoot) -> None:
    """And the spool, and that its units were enabled: it may come back."""
    (root.path / STATE[1:] / "state.sqlite").touch()
    root.run(*DPKG, "--remove", "qmail-popup")
    assert {STATE, f"{STATE}/state.sqlite", SPOOL} == {path for path in left(root) if "/systemd/" not in path}
    assert ({*SIDECAR}, set()) == (enabled(root), root.gone())


def test_purged_it_leaves_nothing_but_the_account(root: ThrowAwayRoot) -> None:
    """No file and no directory, whatever was in its own; and nothing of anybody else's has gone."""
    (root.path / STATE[1:] / "state.sqlite").touch()
    (root.path / SPOOL[1:] / "spool").touch()
    root.run(*DPKG, "--purge", "qmail-popup")
    assert (set(), set()) == (left(root), root.gone())
    assert [] == list((root.path / "run").glob("qmail-popup*"))
    assert root.run("getent", "passwd", "qmailpop").startswith("qmailpop:")
