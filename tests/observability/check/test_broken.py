"""`--check-config`: one table of broken set-ups, each with the line that it gets."""

import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from observability.check.command import problems
from observability.check.problem import may
from observability.settings import parse
from observability.store import schema
from tests.support import authority
from tests.support.setups import Options, given, good, written

KEY = "state.sqlite.key"


class Broken(NamedTuple):
    """A set-up that is broken. make: breaks it and returns more options; line: what is said, all of it.

    DIR in the line is the directory; forbidden: what in it this user may not touch
    """

    make: Callable[[Path], Options]
    line: str
    forbidden: str = ""
    environ: dict[str, str] = {}  # noqa: RUF012  nobody changes it


def moded(name: str, mode: int) -> Callable[[Path], Options]:
    """Return what changes a mode."""

    def make(directory: Path) -> Options:
        (directory / name).chmod(mode)
        return []

    return make


def linked(directory: Path) -> Options:
    """Put a link where the spool is to be."""
    (directory / "spool/spool").symlink_to("/etc/passwd")
    return []


def crowded(directory: Path) -> Options:
    """Put a directory where the textfile is to be."""
    (directory / "x.prom").mkdir()
    return given("--textfile=DIR/x.prom")(directory)


def newer(directory: Path) -> Options:
    """Put the store of a newer version in its place."""
    with closing(sqlite3.connect(directory / "lib/state.sqlite")) as database:
        database.executescript(
            f"PRAGMA application_id={schema.APPLICATION}; PRAGMA user_version=99; CREATE TABLE t (a)"
        )
    return []


def served(certificate: str, key: str, *more: str) -> Callable[[Path], Options]:
    """Return what makes certificates, and names these."""

    def make(directory: Path) -> Options:
        authority.make(directory)
        return given(f"--tls-cert=DIR/{certificate}", f"--tls-key=DIR/{key}", *more)(directory)

    return make


def expired(directory: Path) -> Options:
    """Make a certificate that ran out."""
    authority.expire(authority.make(directory))
    return given("--tls-cert=DIR/server.pem", "--tls-key=DIR/server.key")(directory)


def open_key(directory: Path) -> Options:
    """Make a key for everybody."""
    authority.make(directory).key.chmod(0o644)
    return given("--tls-cert=DIR/server.pem", "--tls-key=DIR/server.key")(directory)


PUSH = "--push=http://127.0.0.1:1"
NOBODY = r"cannot connect: Connection refused; check that the (gateway|collector) is running and .*"
STATE, SPOOL = "--state DIR/lib/state.sqlite", "--spool DIR/spool"

TABLE = {
    "the socket's directory": Broken(
        given("--socket=DIR/no/where/sock"),
        "--socket DIR/no/where: no such directory, and this user cannot .*; create it: install -d .*",
    ),
    "no socket": Broken(
        written("run/sidecar.sock", ""),
        "--socket DIR/run/sidecar.sock: not a socket; move it away, or choose another path",
    ),
    "a socket's long path": Broken(
        given(f"--socket=DIR/run/{'x' * 100}"),
        "--socket DIR/run/x+: a socket's path has 107 bytes at most; choose a shorter one",
    ),
    "a socket that everybody may replace": Broken(
        moded("run", 0o777), "--socket DIR/run: everybody can replace its files; chmod o-w DIR/run"
    ),
    "the spool's directory": Broken(
        given("--spool=DIR/no/where"),
        "--spool DIR/no/where: no such directory, .*; create it: install -d -m 2770 .* DIR/no/where",
    ),
    "a spool that is a file": Broken(
        written("file", "", "--spool=DIR/file"),
        "--spool DIR/file: not a directory; move it away, or name another",
    ),
    "a spool behind a file": Broken(
        written("file", "", "--spool=DIR/file/x"),
        "--spool DIR/file/x: Not a directory; name a path that this user can reach",
    ),
    "a spool for its owner alone": Broken(
        moded("spool", 0o700),
        f"{SPOOL}: its mode is 0700: popups of its group cannot leave events there; chmod 2770 DIR/spool",
    ),
    "a spool for everybody": Broken(
        moded("spool", 0o2775),
        f"{SPOOL}: its mode is 2775: everybody can read it, and it contains user .*; chmod o-rwx DIR/spool",
    ),
    "a spool that is not ours": Broken(
        given(), f"{SPOOL}: this user may not write there; chown it: install -d -m 2770 .*", forbidden="spool"
    ),
    "a spool's file that is a link": Broken(
        linked, f"{SPOOL}/spool: not a regular file, so it is ignored; remove it: rm DIR/spool/spool"
    ),
    "a state that is a directory": Broken(given("--state=DIR/lib"), "--state DIR/lib: is a directory; .*"),
    "a state that is not ours": Broken(
        given(),
        f"{STATE}: this user may not read and write it; chown USER DIR/lib/state.sqlite.*",
        forbidden="lib/state.sqlite",
    ),
    "a state that is none": Broken(
        written("lib/state.sqlite", "garbage" * 999),
        f"{STATE}: .*not a database; restore a backup, or start over .*",
    ),
    "a state of the future": Broken(
        newer, f"{STATE}: .* has version 99, newer than .*; restore a backup, .*"
    ),
    "a key that everybody may read": Broken(
        written(f"lib/{KEY}", "x" * 32, "--json-log", mode=0o644),
        f"{STATE}.key: everybody can read it, and it contains a secret; chmod o-rwx DIR/lib/{KEY}",
    ),
    "a key that is too short": Broken(
        written(f"lib/{KEY}", "x", "--json-log"), f"{STATE}.key: the key that .* is too short; remove it: .*"
    ),
    "a host that is not known": Broken(
        given("--listen=nowhere.invalid:9110"),
        "--listen nowhere.invalid:9110: unknown host; name an address of this host",
    ),
    "an address of another host": Broken(
        given("--listen=192.0.2.1:9110"),
        "--listen 192.0.2.1:9110: Cannot assign requested address; choose another port, or an address .*",
    ),
    "no certificate": Broken(
        served("none.pem", "server.key"),
        "--tls-cert DIR/none.pem: no such file; create it, or name another",
    ),
    "another one's key": Broken(
        served("server.pem", "ca.key"),
        "--tls-cert DIR/server.pem: .*; both .* PEM, and --tls-key DIR/ca.key the .*",
    ),
    "a certificate that ran out": Broken(
        expired, "--tls-cert DIR/server.pem: certificate has expired; renew it, and send the sidecar SIGHUP"
    ),
    "a key of TLS that everybody may read": Broken(
        open_key, "--tls-key DIR/server.key: everybody can read it, .*; chmod o-rwx DIR/server.key"
    ),
    "an authority without a certificate": Broken(
        served("server.pem", "server.key", "--tls-client-ca=DIR/ca.key"),
        "--tls-client-ca DIR/ca.key: .*; name a PEM file with the certificates of the authority",
    ),
    "a gateway that is down": Broken(given(PUSH), f"--push http://127.0.0.1:1: {NOBODY}"),
    "a collector that is not known": Broken(
        given("--otlp=http://nowhere.invalid:4318"),
        "--otlp http://nowhere.invalid:4318: unknown host; check that the collector is running and .*",
    ),
    "a collector of the environment": Broken(
        given(),
        f"OTEL_EXPORTER_OTLP_ENDPOINT http://127.0.0.1:1: {NOBODY}",
        environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ),
    "a textfile's directory": Broken(
        given("--textfile=DIR/no/x.prom"),
        "--textfile DIR/no/x.prom: no such directory; name the one that node_exporter reads",
    ),
    "a textfile that is a directory": Broken(
        crowded,
        "--textfile DIR/x.prom: not a regular file; move it away, or choose another name",
    ),
    "a log that is missing": Broken(
        given("--read-log=DIR/current"),
        "--read-log DIR/current: no such file; create it, or name another",
    ),
    "a log that is not ours": Broken(
        written("current", "", "--read-log=DIR/current"),
        "--read-log DIR/current: this user may not read it; chgrp and chmod g.r it for the service's user",
        forbidden="current",
    ),
    "a log in a directory that is not ours": Broken(
        written("current", "", "--read-log=DIR"),
        "--read-log DIR/current: this user may not read it; chgrp and chmod g.r it for the service's user",
        forbidden="current",
    ),
    "a lock that root left": Broken(
        written("lib/state.sqlite.lock", ""),
        f"{STATE}.lock: this user may not read and write it; chown USER DIR/lib/state.sqlite.*",
        forbidden="lib/state.sqlite.lock",
    ),
}


def said(directory: Path, options: Options, broken: Broken) -> list[str]:
    """Return the lines for a set-up, with DIR for its directory."""
    settings = parse([*options, "--check-config"], broken.environ, "1.2.3")

    def allowed(path: Path, mode: int) -> bool:
        return may(path, mode) and str(path) != f"{directory}/{broken.forbidden}"

    found = problems(settings, broken.environ, allowed)
    return [str(problem).replace(str(directory), "DIR") for problem in found]


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a directory with a short name: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="qpop") as made:
        yield Path(made)


@pytest.mark.parametrize("name", TABLE)
def test_each_broken_set_up_has_one_line_that_says_what_to_do(directory: Path, name: str) -> None:
    """It names the option and the file; nothing else is wrong."""
    broken, options = TABLE[name], good(directory)
    options += broken.make(directory)
    (line,) = said(directory, options, broken)
    assert re.fullmatch(broken.line, line), line
