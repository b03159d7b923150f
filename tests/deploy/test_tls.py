"""TLS on Debian as it is: tlswrapper under daemontools, stunnel4, and certificates that are renewed.

Clients come from 127.0.0.2, which is none of the server's own addresses: so a record that named the program
that decrypts would be seen.
"""

import os
import poplib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from qmail_popup.settings import IDLE_TIMEOUT
from tests.support import authority, maildir, subprogram
from tests.support.authority import Authority
from tests.support.descriptors import CHECKOUT
from tests.support.maildir import MESSAGES, SERVED
from tests.support.programs import need, need_root
from tests.support.scraper import counts
from tests.support.server import HOST, free_port
from tests.support.services import SIDECAR, Host
from tests.support.waiting import TIMEOUT, until

CLIENT = "127.0.0.2"
SERVICE = "pop3s-tlswrapper"
TLS = CHECKOUT / "deploy/tls"
RECORDS = [f"{result}::AUTH::User P:POP3S S:{CLIENT}:unknown ?~ 'bob'" for result in ("Accept", "Reject")]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a certificate authority and a server's certificate."""
    return authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory that every account may enter."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="tls-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def host(place: Path, shared_prefix: Path) -> Iterator[Host]:
    """Return a host with daemontools on which nothing is placed yet."""
    need("tlswrapper")
    host = Host(place, shared_prefix)
    with host.svscan:
        yield host


def curl(port: int, certificates: Authority, password: str) -> subprocess.CompletedProcess[bytes]:
    """Read bob's first message over POP3S."""
    where = ["--interface", CLIENT, "--cacert", str(certificates.ca), f"pop3s://{HOST}:{port}/1"]
    command = [*need("curl"), "-q", "-sS", "-u", f"bob:{password}", *where]
    return subprocess.run(command, capture_output=True, check=False)


def both_ways(port: int, certificates: Authority) -> None:
    """Read a message, and be refused with another password (67 is curl's word for that)."""
    done = curl(port, certificates, "secret")
    assert (0, b"", SERVED[0]) == (done.returncode, done.stderr, done.stdout.replace(b"\r\n", b"\n"))
    assert 67 == curl(port, certificates, "wrong").returncode


def test_tlswrapper_leaves_address_and_record_as_they_are(host: Host, certificates: Authority) -> None:
    """The record names the client and says POP3S; it is counted, with the version of TLS."""
    pem = certificates.both(host.spool.with_name("both.pem"))
    host.place_server(SERVICE, CERTIFICATE=str(pem))
    host.place_sidecar()
    host.start()
    both_ways(host.svscan.port(SERVICE), certificates)
    assert RECORDS == host.records(SERVICE, 2)
    assert host.counts_to("accepted", "rejected")
    assert {("TLSv1.2",): 2} == counts(host.numbers(), "tls_sessions_total", "version")


def test_popups_behind_tlswrapper_need_not_be_root(host: Host, certificates: Authority) -> None:
    """It reads the key as root and becomes the account that the directory names, with that one's group."""
    pem = certificates.both(host.spool.with_name("both.pem"))
    host.place_server(
        SERVICE, CERTIFICATE=str(pem), ACCOUNT=SIDECAR, CHECKER="env", POP3_SERVER="exec id -un"
    )
    host.place_sidecar()
    host.start()
    with poplib.POP3_SSL(
        HOST, host.svscan.port(SERVICE), timeout=TIMEOUT, context=certificates.trusted()
    ).sock as client:
        client.sendall(b"USER bob\r\nPASS secret\r\n")
        assert SIDECAR == client.makefile().read().split()[-1]
    assert host.counts_to("accepted")


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("daemontools/pop3s-tlswrapper/run", r"tlswrapper -t (\d+) "),
        ("systemd/qmail-popup-pop3s@.service", r"tlswrapper -t (\d+) "),
        ("tls/stunnel.conf", r"TIMEOUTidle = (\d+)\n"),
    ],
)
def test_a_silent_client_meets_the_popups_own_limit_first(file: str, pattern: str) -> None:
    """The program that decrypts waits for longer than the popup does."""
    (seconds,) = re.findall(pattern, (CHECKOUT / "deploy" / file).read_text())
    assert IDLE_TIMEOUT < int(seconds)


@contextmanager
def stunnel(place: Path, prefix: Path, pem: Path) -> Iterator[tuple[int, Path]]:
    """Run stunnel as deploy/tls has it, with paths and a port of ours; its port, and what it says."""
    bob = maildir.account(place)
    checker, told = subprogram.checker(maildir.pwfile(place / "passwd", bob))
    changes = {
        "/usr/local": str(prefix),
        "checkpw": " ".join(checker),
        "exec /usr/sbin/pop3front-maildir Maildir 2>/dev/null 5>&-": subprogram.pop3_server_line(),
        "/etc/qmail-popup/tls/pop.example.org.pem": str(pem),
        "/etc/qmail-popup": str(place),
        "/run/": f"{place}/",
        ":::995": f":::{free_port()}",
    }
    for name in ("stunnel.conf", "stunnel-popup"):
        shutil.copy(TLS / name, place)
        change(place / name, changes)
    log = place / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*need("stunnel4"), place / "stunnel.conf"],
            env={"PATH": os.environ["PATH"], **told},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        port = int(changes[":::995"][3:])
        until(lambda: server.poll() is not None or listens(port))
        assert server.poll() is None, log.read_text()
        yield port, log
    finally:
        server.terminate()
        server.wait(TIMEOUT)


def change(file: Path, changes: Mapping[str, str]) -> None:
    """Replace words in a file, all at once."""
    words = re.compile("|".join(map(re.escape, changes)))
    file.write_text(words.sub(lambda found: changes[found[0]], file.read_text()))


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def records(log: Path) -> list[str]:
    """Return the records in a log, without pids."""
    return re.findall(r"^qmail-popup: pid \d+ (.*)$", log.read_text(), re.MULTILINE)


def test_stunnel_leaves_address_and_record_as_they_are(
    place: Path, installed: Path, certificates: Authority
) -> None:
    """On a socket for both families too: an IPv4 address is one."""
    with stunnel(place, installed, certificates.both(place / "both.pem")) as (port, log):
        both_ways(port, certificates)
        until(lambda: len(records(log)) == len(RECORDS))
        assert RECORDS == records(log)


def renew(place: Path, name: str, certificates: Authority) -> None:
    """Do what certbot does after a renewal: run the hook, which looks below `place`."""
    lineage = place / "live" / name
    lineage.mkdir(parents=True, exist_ok=True)
    shutil.copy(certificates.key, lineage / "privkey.pem")
    shutil.copy(certificates.certificate, lineage / "fullchain.pem")
    hook = Path(shutil.copy(TLS / "deploy-hook", place))
    change(hook, {"=/service": f"={place}/service", "/etc/": f"{place}/etc/", "/run/": f"{place}/"})
    subprocess.run([hook], env={**os.environ, "RENEWED_LINEAGE": str(lineage)}, check=True)


def shown(port: int) -> str:
    """Return the certificate that a server shows; none while stunnel, which reloads, opens its port again."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        # ssl.get_server_certificate leaves its socket open where the handshake is cut off.
        with (
            socket.create_connection((HOST, port)) as bare,
            context.wrap_socket(bare, do_handshake_on_connect=False) as secure,
        ):
            secure.do_handshake()
            return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")
    except (ConnectionError, ssl.SSLEOFError):
        return ""


def test_a_renewed_certificate_is_in_force_without_a_restart(host: Host, tmp_path: Path) -> None:
    """With tlswrapper: the next connection sees it, and a session that is open goes on."""
    place = host.spool.parent
    old, new = (_made(tmp_path / name) for name in ("old", "new"))
    renew(place, "pop.example.org", old)
    host.place_server(SERVICE, CERTIFICATE=str(place / "etc/qmail-popup/tls/pop.example.org.pem"))
    host.start()
    port = host.svscan.port(SERVICE)
    _sees_the_new_one(port, old, new, lambda: renew(place, "pop.example.org", new))


def test_stunnel_takes_a_renewed_certificate(place: Path, installed: Path, tmp_path: Path) -> None:
    """The hook tells it, and a session that is open goes on."""
    old, new = (_made(tmp_path / name) for name in ("old", "new"))
    renew(place, "pop.example.org", old)
    with stunnel(place, installed, place / "etc/qmail-popup/tls/pop.example.org.pem") as (port, _):
        _sees_the_new_one(port, old, new, lambda: renew(place, "pop.example.org", new))


@pytest.mark.parametrize("is_by_hand", [False, True], ids=["etc", "by hand"])
def test_the_listener_takes_a_renewed_certificate(host: Host, tmp_path: Path, *, is_by_hand: bool) -> None:
    """The hook has it reload, in whichever directory svscan looks, and a session that is open goes on."""
    place = host.spool.parent
    old, new = (_made(tmp_path / name) for name in ("old", "new"))
    renew(place, "pop.example.org", old)
    pem = place / "etc/qmail-popup/tls/pop.example.org.pem"
    if not is_by_hand:
        (place / "etc/service").symlink_to(place / "service")
    host.place_listener(f"--pop3s {HOST}:0 --tls-certificate {pem} --tls-key {pem}")
    host.start()
    _sees_the_new_one(host.svscan.port("listener"), old, new, lambda: renew(place, "pop.example.org", new))


def _made(directory: Path) -> Authority:
    directory.mkdir()
    return authority.make(directory)


def _sees_the_new_one(port: int, old: Authority, new: Authority, renewed: Callable[[], None]) -> None:
    assert old.certificate.read_text() == shown(port)
    with closing(poplib.POP3_SSL(HOST, port, timeout=TIMEOUT, context=old.trusted())) as before:
        renewed()
        until(lambda: new.certificate.read_text() == shown(port))
        before.user("bob")
        before.pass_("secret")
        assert len(MESSAGES) == before.stat()[0]
        before.quit()


def test_the_file_that_a_renewal_writes_is_roots_alone(place: Path, certificates: Authority) -> None:
    """It holds the key; a certificate without a key leaves the old file in place."""
    renew(place, "mx", certificates)
    pem = place / "etc/qmail-popup/tls/mx.pem"
    assert 0o100600 == pem.stat().st_mode
    assert certificates.key.read_text() + certificates.certificate.read_text() == pem.read_text()
    (place / "live/mx/privkey.pem").unlink()
    broken = subprocess.run(
        [place / "deploy-hook"],
        env={**os.environ, "RENEWED_LINEAGE": str(place / "live/mx")},
        capture_output=True,
        check=False,
    )
    assert 0 != broken.returncode
    assert certificates.key.read_text() in pem.read_text()


def test_the_scripts_are_for_any_posix_shell() -> None:
    """Debian's own sh reads them, and they can be executed."""
    for script in (TLS / "deploy-hook", TLS / "stunnel-popup"):
        subprocess.run([*need("dash"), "-n", script], check=True)
        assert os.access(script, os.X_OK)
