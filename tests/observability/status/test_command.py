"""`--status` as it is typed: of a sidecar that runs, of the store of one that does not, and of nothing."""

import json
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from observability.event import build
from tests.support import forkserver
from tests.support.descriptors import CHECKOUT
from tests.support.keeper import COMMAND
from tests.support.programs import need
from tests.support.sidecar import REJECTED, RunningSidecar, deliver, fields
from tests.support.waiting import TIMEOUT


def run(directory: Path, *options: str, url: str = "http://127.0.0.1:1") -> subprocess.CompletedProcess[str]:
    """Ask for the status of what answers at url, or of the store in directory."""
    return forkserver.run(*arguments(directory, url), *options)


def arguments(directory: Path, url: str) -> list[str]:
    """Return the options."""
    places = [f"--state={directory / 'state.sqlite'}", f"--spool={directory / 'spool'}"]
    return ["--status", f"--listen={urlsplit(url).netloc}", *places]


def counted(directory: Path, *options: str) -> RunningSidecar:
    """Start a sidecar and have it count three logins and a refusal."""
    sidecar = RunningSidecar(directory, *options)
    for changes in ({}, {}, {}, REJECTED):
        deliver(sidecar.socket, build(fields(changes)))
    return sidecar


def files(directory: Path) -> dict[str, bytes]:
    """Return all files with what they hold."""
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_a_sidecar_that_runs_and_its_store(tmp_path: Path) -> None:
    """The same numbers from both, as text, as JSON and for monitoring; the store is left as it was."""
    with counted(tmp_path) as sidecar:
        told = json.loads(run(tmp_path, "--json", url=sidecar.url).stdout)
        shown = run(tmp_path, url=sidecar.url)
        judged = run(tmp_path, "--warning=failed_share=0.2", "--critical=failed_share=0.5", url=sidecar.url)
        assert 0 == sidecar.stop()
    held = files(tmp_path)
    later = json.loads(run(tmp_path, "--json").stdout)
    unknown = run(tmp_path, "--warning=sessions=5")
    assert held == files(tmp_path)
    assert (True, 3, 1, 0.25, 0) == (
        told["live"],
        told["logins"]["24h"]["accepted"],
        told["logins"]["24h"]["by_reason"]["credentials"],
        told["failed_share"],
        told["sessions"],
    )
    assert (0, "") == (shown.returncode, shown.stderr)
    assert "qmail-popup 0" in shown.stdout
    assert 1 == judged.returncode
    assert judged.stdout.startswith(
        "QMAIL_POPUP WARNING - failed_share is 0.25, over 0.2 | failed_share=0.25;"
    )
    assert (False, str(tmp_path / "state.sqlite")) == (later["live"], later["source"])
    assert (3, "QMAIL_POPUP UNKNOWN - no sidecar answers\n") == (unknown.returncode, unknown.stdout)


def test_where_there_is_nothing_one_line_says_so(tmp_path: Path) -> None:
    """On stderr, or on stdout for monitoring, with status 3 and without a file made."""
    shown, judged = run(tmp_path), run(tmp_path, "--critical=age_seconds=5")
    assert (3, "", 1) == (shown.returncode, shown.stdout, shown.stderr.count("\n"))
    assert (3, "") == (judged.returncode, judged.stderr)
    assert judged.stdout.startswith("QMAIL_POPUP UNKNOWN - no sidecar answers at http://127.0.0.1:1 (")
    assert [] == list(tmp_path.iterdir())


def test_a_store_that_is_broken_is_told(tmp_path: Path) -> None:
    """It is left as it is."""
    (tmp_path / "state.sqlite").write_bytes(b"garbage" * 1000)
    found = run(tmp_path)
    assert 3 == found.returncode
    assert "state.sqlite" in found.stderr
    assert {str(tmp_path / "state.sqlite"): b"garbage" * 1000} == files(tmp_path)


def test_tls_is_spoken_as_it_is_served(tmp_path: Path) -> None:
    """With the certificate that the sidecar has, which is shown where one is asked for."""
    (openssl,) = need("openssl")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    names = ("-subj", "/CN=mx", "-keyout", str(key), "-out", str(certificate))
    subprocess.run([openssl, *made, *names], capture_output=True, check=True)
    tls = (f"--tls-cert={certificate}", f"--tls-key={key}", f"--tls-client-ca={certificate}")
    with counted(tmp_path, *tls) as sidecar:
        assert json.loads(run(tmp_path, "--json", *tls, url=sidecar.url).stdout)["live"]
        assert not json.loads(run(tmp_path, "--json", url=sidecar.url).stdout)["live"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watching_shows_it_again_until_it_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    """A line of JSON each time."""
    with counted(tmp_path) as sidecar:
        watching = [*COMMAND, *arguments(tmp_path, sidecar.url), "--json", "--watch"]
        with subprocess.Popen(
            watching, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as watch:
            assert watch.stdout
            assert watch.stderr
            times = [json.loads(watch.stdout.readline())["time"] for _ in range(2)]
            watch.send_signal(number)
            assert -number == watch.wait(TIMEOUT)
            assert b"" == watch.stderr.read()
    assert times[0] < times[1]
