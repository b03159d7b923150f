"""POP3S and STLS through the whole listener: what is agreed on, what is served, and what is refused."""

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.qmail_popup.listener.conftest import Certified
from tests.qmail_popup.listener.test_login import python
from tests.support import secure
from tests.support.programs import need, need_root
from tests.support.resident import HOST, HOSTNAME, LOGIN, Listener, read_all, read_line
from tests.support.secure import Client, Connect, talk
from tests.support.waiting import TIMEOUT, until

_TALK = (
    "w(os.read(3, 9999).decode('latin-1').replace('\\0', '|')); w(os.read(0, 99).decode('latin-1')); "
    "told = {k: v for k, v in os.environ.items() if k.startswith(('SSL', 'PROTO', 'UCSPI', 'TCP'))}; "
    "w(' '.join(sorted(k + '=' + v for k, v in told.items())))"
)
_SECURE = "Accept::AUTH::User P:POP3S S:127.0.0.1:unknown ?~ 'bob'"
_PLAIN = b"+OK capability list follows\r\nTOP\r\nUSER\r\nUIDL\r\n.\r\n"
_OFFERED = b"+OK capability list follows\r\nTOP\r\nUSER\r\nUIDL\r\nSTLS\r\n.\r\n"
_BOTH = pytest.mark.parametrize("connect", [secure.pop3s, secure.stls], ids=["pop3s", "stls"])


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory, certified: Certified) -> Iterator[Listener]:
    """Return a listener whose subprogram says what it gets."""
    directory = tmp_path_factory.mktemp("listener")
    env = {"POP3AUTH": "apop"}
    with Listener(directory, *certified.options, subprogram=python(_TALK), env=env) as running:
        yield running


@_BOTH
def test_a_login(talkative: Listener, certified: Certified, connect: Connect) -> None:
    """The subprogram gets what it gets in clear, what stands behind PASS, and what sslserver says of TLS."""
    count = len(talkative.records())
    client = connect(talkative, certified.issuer.trusted())
    version, cipher = client.tls.version(), client.tls.cipher()
    (client_ip, client_port), (ip, port) = client.bare.getsockname(), client.bare.getpeername()
    _user, given, rest, variables = talk(client, LOGIN + b"STAT").splitlines()
    assert given.startswith(b"bob|x|<")
    assert b"STAT" == rest
    assert cipher
    name, _, bits = cipher
    assert variables.decode() == (
        f"PROTO=TCP SSL_CIPHER={name} SSL_CIPHER_ALGKEYSIZE={bits} SSL_CIPHER_USEKEYSIZE={bits}"
        f" SSL_PROTOCOL={version} TCPLOCALHOST={HOSTNAME} TCPLOCALIP={ip} TCPLOCALPORT={port}"
        f" TCPREMOTEIP={client_ip} TCPREMOTEPORT={client_port}"
    )
    assert talkative.wait_for_records(count + 1)[count].endswith(_SECURE)


def test_the_timestamp_stays_what_it_was(talkative: Listener, certified: Certified) -> None:
    """STLS changes nothing about APOP."""
    peer = talkative.connect()
    stamp = read_line(peer).removeprefix(b"+OK ").strip()
    peer.sendall(b"STLS\r\n")
    read_line(peer)
    said = talk(Client(peer, certified.issuer.trusted()), b"APOP eve 0123456789abcdef\r\n")
    assert b"eve|0123456789abcdef|" + stamp + b"|" in said


@_BOTH
def test_what_is_said_at_once(talkative: Listener, certified: Certified, connect: Connect) -> None:
    """A password whose record comes with the end of the handshake is a login like any other."""
    client = connect(talkative, certified.issuer.trusted())
    for byte in LOGIN[:-1]:
        client.sendall(bytes([byte]))
    assert b"bob|x|<" in talk(client, LOGIN[-1:])


@pytest.mark.parametrize(
    ("ucspi_tls", "capabilities"),
    [(None, _OFFERED), ("", _OFFERED), ("1", _OFFERED), ("-", _PLAIN), ("!", None)],
)
def test_where_stls_is_offered(
    tmp_path: Path, certified: Certified, ucspi_tls: str | None, capabilities: bytes | None
) -> None:
    """UCSPITLS says it, as for the popup; unset it is offered. POP3S is served in any case."""
    env = {} if ucspi_tls is None else {"UCSPITLS": ucspi_tls}
    with Listener(tmp_path, *certified.options, env=env) as listener:
        said = listener.talk(b"CAPA\r\nSTLS\r\n")
        offers = secure.STARTING if ucspi_tls != "-" else b"-ERR STLS not available\r\n"
        expected = capabilities or b"+OK capability list follows\r\nTOP\r\nUIDL\r\nSTLS\r\n.\r\n"
        assert b"+OK\r\n" + expected + offers == said
        client = secure.pop3s(listener, certified.issuer.trusted())
        assert _PLAIN + b"-ERR STLS not available\r\n+OK \r\n" == talk(client, b"CAPA\r\nSTLS\r\n" + LOGIN)
        assert [_SECURE] == [line.split(" ", 3)[3] for line in listener.wait_for_records(1)]


def test_tls_that_is_required(tmp_path: Path, certified: Certified) -> None:
    """In clear nobody logs in, over TLS everybody; the refusal has its record."""
    with Listener(tmp_path, *certified.options, env={"UCSPITLS": "!"}) as listener:
        assert b"+OK\r\n-ERR TLS required but not negotiated\r\n" == listener.talk(LOGIN)
        assert b"+OK \r\n" == talk(secure.stls(listener, certified.issuer.trusted()), LOGIN)
        refused, accepted = listener.wait_for_records(2)
        assert refused.endswith("Reject::STLS::Any P:POP3 S:127.0.0.1:unknown ?~ 'unknown'")
        assert accepted.endswith(_SECURE)


def test_tls_that_is_required_and_not_to_be_had(tmp_path: Path) -> None:
    """Without a certificate nobody is let in, and one line says so."""
    with Listener(tmp_path, env={"UCSPITLS": "!"}) as listener:
        assert 1 == listener.errors().count("nobody can log in")
        assert b"+OK\r\n-ERR TLS required but not negotiated\r\n" == listener.talk(LOGIN)


@pytest.mark.parametrize(
    "behind", [LOGIN, b"\r\n" + LOGIN, b"USER eve\r\n", b"\x16\x03\x01" + LOGIN], ids=repr
)
def test_what_stands_in_clear_behind_stls(tmp_path: Path, certified: Certified, behind: bytes) -> None:
    """It is no handshake, ends the connection, and is never executed."""
    with Listener(tmp_path, *certified.options) as listener, listener.connect() as peer:
        peer.sendall(b"STLS\r\n" + behind)
        peer.shutdown(socket.SHUT_WR)
        said = read_all(peer)
        assert b"+OK\r\n" + secure.STARTING == said[: len(said) - len(_alert(said))]
        assert b"+OK\r\n+OK \r\n" == listener.talk(LOGIN)
        assert 1 == len(listener.wait_for_records(1))


def _alert(said: bytes) -> bytes:
    """Return the TLS alert that ends what was said, if there is one."""
    found = re.search(rb"\x15\x03[\x00-\x04]\x00\x02\x02.\Z", said, re.DOTALL)
    return found[0] if found else b""


def test_a_handshake_that_does_not_wait(talkative: Listener, certified: Certified) -> None:
    """What follows the line of STLS belongs to the handshake, as behind the popup, and is left for it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = certified.issuer.trusted().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with talkative.connect() as peer:
        read_line(peer)
        peer.sendall(b"STLS\r\n" + outgoing.read())
        assert secure.STARTING == read_line(peer)
        while not tls.version():
            incoming.write(peer.recv(65536))
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                continue


def test_who_was_named_in_clear_is_forgotten(talkative: Listener, certified: Certified) -> None:
    """RFC 2595 section 4: nothing that was said before TLS counts behind it."""
    peer = talkative.connect()
    peer.sendall(b"USER bob\r\nSTLS\r\n")
    for _ in range(3):
        read_line(peer)
    assert b"-ERR USER first\r\n" == talk(Client(peer, certified.issuer.trusted()), b"PASS x\r\n")


def test_quit(talkative: Listener, certified: Certified) -> None:
    """It is answered, and the end is told by close_notify."""
    with secure.pop3s(talkative, certified.issuer.trusted()) as client:
        client.sendall(b"QUIT\r\n")
        assert b"+OK \r\n" == read_line(client)
        assert b"" == client.recv(1)  # an error without close_notify


def test_tls_is_loaded_only_for_a_certificate(tmp_path: Path, certified: Certified) -> None:
    """Who has none pays nothing for it, in no process."""
    need_root()  # only root may look into a worker
    for number, options in enumerate(([], certified.options)):
        directory = tmp_path / str(number)
        directory.mkdir()
        with Listener(directory, *options) as listener:
            loaded = [
                "libssl" in Path(f"/proc/{pid}/maps").read_text()
                for pid in (listener.process.pid, *listener.children())
            ]
            assert {bool(options)} == set(loaded)


def _connected(listener: Listener, *options: str) -> str:
    """Have openssl connect, and leave; what it writes of the connection."""
    (openssl,) = need("openssl")
    argv = [openssl, "s_client", "-connect", f"{HOST}:{secure.port(listener)}", "-ign_eof", *options]
    return subprocess.run(
        argv, input="QUIT\n", capture_output=True, text=True, timeout=TIMEOUT, check=False
    ).stdout


def _is_served(listener: Listener, *options: str) -> bool:
    return "+OK" in _connected(listener, *options)


def test_versions(talkative: Listener) -> None:
    """There are TLS 1.2 and 1.3, and nothing older, however little a client insists on."""
    weak = ("-cipher", "ALL:@SECLEVEL=0")
    versions = ("-tls1_3", "-tls1_2", "-tls1_1", "-tls1")
    assert [True, True, False, False] == [_is_served(talkative, version, *weak) for version in versions]


@pytest.mark.parametrize("name", ["1.3", "TLSv1.3"])
def test_the_oldest_version(tmp_path: Path, certified: Certified, name: str) -> None:
    """It can be 1.3."""
    with Listener(tmp_path, *certified.options, "--tls-minimum", name) as listener:
        assert [True, False] == [_is_served(listener, version) for version in ("-tls1_3", "-tls1_2")]


def test_ciphers(talkative: Listener) -> None:
    """TLS 1.2 has forward secrecy and authenticated ciphers, or there is none."""
    good = ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305")
    bad = ("AES256-SHA", "AES128-GCM-SHA256", "ECDHE-RSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA", "aNULL")
    for ciphers, works in ((good, True), (bad, False)):
        for cipher in ciphers:
            assert works is _is_served(talkative, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0"), cipher


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_no_tickets(talkative: Listener, version: str) -> None:
    """No ticket is given: its keys would outlive what they keep secret."""
    said = _connected(talkative, version, "-msg")
    assert "+OK" in said
    assert "NewSessionTicket" not in said


def test_no_renegotiation(talkative: Listener) -> None:
    """A client of TLS 1.2 may ask for new keys, and gets none; openssl then gives up by itself."""
    (openssl,) = need("openssl")
    argv = [openssl, "s_client", "-connect", f"{HOST}:{secure.port(talkative)}", "-tls1_2"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as client:
        assert client.stdin
        assert client.stdout
        assert client.stderr
        while (line := client.stdout.readline()) != "+OK\n" and "+OK <" not in line:
            assert line, "not connected"
        client.stdin.write("R\n")  # a command of its own
        client.stdin.flush()
        assert "no renegotiation" in client.stderr.read()


def test_the_chain_comes_with_the_certificate(talkative: Listener, certified: Certified) -> None:
    """A client that trusts the root alone finds its way there, whichever kind of key it asks for."""
    for kind in ("ECDSA", "RSA"):
        cipher = f"ECDHE-{kind}-AES256-GCM-SHA384"
        trust = ("-CAfile", str(certified.issuer.root), "-verify_return_error")
        said = _connected(talkative, *trust, "-tls1_2", "-cipher", cipher)
        assert f"Cipher is {cipher}" in said
        assert "Verify return code: 0 (ok)" in said


def test_all_are_gone_in_the_end(tmp_path: Path, certified: Certified) -> None:
    """Neither descriptors nor memory of TLS stay behind in a worker."""
    need_root()  # only root may look into a worker
    trusted = certified.issuer.trusted()
    with Listener(tmp_path, *certified.options) as listener:
        for _ in range(20):
            talk(secure.pop3s(listener, trusted), LOGIN)
        before = _held(listener)
        for _ in range(300):
            talk(secure.stls(listener, trusted), LOGIN)
        until(lambda: _held(listener)[0] <= before[0])
        assert _held(listener)[1] - before[1] < 1024


def _held(listener: Listener) -> tuple[int, int]:
    """Return descriptors of all workers, and KiB of their memory."""
    workers = listener.workers()
    kib = [re.findall(r"VmRSS:\s+([0-9]+)", Path(f"/proc/{pid}/status").read_text()) for pid in workers]
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in workers), sum(int(k[0]) for k in kib)
