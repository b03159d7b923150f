"""deploy/systemd: what systemd says of the units, and the helper that stands between it and a popup."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.manager import SOURCE
from tests.support.programs import need

UNITS = sorted(unit.name for unit in SOURCE.glob("*.s[eo]*"))


@pytest.mark.parametrize(
    ("instance", "ip", "port"),
    [
        ("17-192.0.2.1:110-198.51.100.7:40000", "192.0.2.1", "110"),
        ("17-2001:db8::1:110-2001:db8::7:40000", "2001:db8::1", "110"),
        ("17-4711-192.0.2.1:995-198.51.100.7:40000", "192.0.2.1", "995"),  # newer ones name a cookie, too
    ],
)
def test_the_instance_names_this_end(instance: str, ip: str, port: str) -> None:
    """It is read from its right end, where both addresses stand; the client is the one that systemd names."""
    remote = {"REMOTE_ADDR": "198.51.100.7", "REMOTE_PORT": "40000"}
    told = subprocess.run(
        [SOURCE / "tcp-environ", instance, "/usr/bin/env"],
        env=remote,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = {
        "PROTO": "TCP",
        "TCPLOCALIP": ip,
        "TCPLOCALPORT": port,
        "TCPREMOTEIP": remote["REMOTE_ADDR"],
        "TCPREMOTEPORT": remote["REMOTE_PORT"],
    }
    lines = (line.split("=", 1) for line in told.stdout.splitlines())
    assert expected == {name: value for name, value in lines if name.startswith(("TCP", "PROTO"))}


def test_a_client_that_is_gone_has_no_address() -> None:
    """Systemd cannot name it then, and neither does the record."""
    shell = 'echo "<$TCPREMOTEIP>"'
    command: list[str | Path] = [
        SOURCE / "tcp-environ",
        "1-127.0.0.1:110-127.0.0.1:4",
        "/bin/sh",
        "-uc",
        shell,
    ]
    assert "<>\n" == subprocess.run(command, env={}, capture_output=True, text=True, check=True).stdout


def test_descriptor_5_is_where_the_journal_listens() -> None:
    """The record goes where messages go."""
    command: list[str | Path] = [
        SOURCE / "tcp-environ",
        "1-127.0.0.1:110-127.0.0.1:4",
        "/bin/sh",
        "-c",
        "echo record >&5",
    ]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=True)
    assert ("", "record\n") == (done.stdout, done.stderr)


def test_systemd_finds_nothing_wrong_with_the_units(installed: Path, tmp_path: Path) -> None:
    """Systemd-analyze verify is silent, once the programs are where the units look for them."""
    (analyze,) = need("systemd-analyze")
    helper = "/usr/local/libexec/qmail-popup/tcp-environ"
    for name in UNITS:
        text = (SOURCE / name).read_text().replace(helper, str(SOURCE / "tcp-environ"))
        (tmp_path / name).write_text(text.replace("/usr/local", str(installed)))
    units = [tmp_path / name for name in UNITS]
    done = subprocess.run(
        [analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("unit", "limit"),
    [
        ("qmail-popup-sidecar", 2.0),
        ("qmail-popup-pop3@", 6.0),
        ("qmail-popup-pop3s@", 6.0),
        ("qmail-popup-listener", 5.0),
    ],
)
def test_a_unit_is_no_more_exposed_than_it_has_to_be(unit: str, limit: float, tmp_path: Path) -> None:
    """Systemd-analyze security gives it so many of 10 at most; a session, which has to be root, has more."""
    (analyze,) = need("systemd-analyze")
    copy = shutil.copy(SOURCE / f"{unit}.service", tmp_path)
    command = [analyze, "security", "--offline=true", "--no-pager", copy]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (exposure,) = [line.split()[-3] for line in said.splitlines() if "Overall exposure level" in line]
    assert float(exposure) <= limit


def settings(unit: str) -> list[str]:
    """Return the settings of a unit, in their order."""
    lines = (SOURCE / unit).read_text().splitlines()
    return [line for line in lines if re.match(r"[A-Z]\w+=", line)]


def test_the_sidecar_knows_how_many_sessions_there_may_be() -> None:
    """Its --sessions-limit is the socket's MaxConnections, of which one address gets a part."""
    (start,) = [line for line in settings("qmail-popup-sidecar.service") if line.startswith("ExecStart=")]
    (limit,) = re.findall(r"--sessions-limit (\d+)", start)
    for name in ("qmail-popup-pop3.socket", "qmail-popup-pop3s.socket"):
        words = dict(line.split("=", 1) for line in settings(name))
        assert limit == words["MaxConnections"]
        assert int(words["MaxConnectionsPerSource"]) < int(limit)
    assert f'Environment="OPTIONS=--sessions {limit}"' in settings("qmail-popup-listener.service")


def test_pop3_and_pop3s_are_alike() -> None:
    """In each setting but the port, the description, and what has to do with TLS."""
    for kind in (".socket", "@.service"):
        plain, secure = (settings(f"qmail-popup-{name}{kind}") for name in ("pop3", "pop3s"))
        differs = {line.split("=", 1)[0] for line in {*plain} ^ {*secure}}
        own = {line for line in {*secure} - {*plain} if line.startswith("Environment=")}
        assert differs <= {"Description", "ListenStream", "ExecStart", "ExecStop", "Environment"}
        assert all(line.startswith(("Environment=CERTIFICATE=", "Environment=SSL_PROTOCOL=")) for line in own)


def test_the_helper_is_for_any_posix_shell() -> None:
    """Debian's own sh reads it, and it can be executed."""
    helper = SOURCE / "tcp-environ"
    subprocess.run([*need("dash"), "-n", helper], check=True)
    assert os.access(helper, os.X_OK)
