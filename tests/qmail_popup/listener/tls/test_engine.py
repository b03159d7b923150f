"""TLS as a filter, without sockets: where it begins and ends, and what it does not wait for."""

import pytest

from qmail_popup.listener.tls.engine import Secure, Server
from qmail_popup.listener.tls.suites import SUITES, UNKNOWN, VERSIONS
from qmail_popup.listener.worker.buffer import Buffer
from tests.qmail_popup.listener.conftest import Certified
from tests.support.memory_tls import MemoryClient


@pytest.fixture
def plain() -> memoryview:
    """Return room for what is decrypted."""
    return Buffer().view


def connected(server: Server, certified: Certified, plain: memoryview) -> tuple[MemoryClient, Secure]:
    """Return both halves after their handshake."""
    client, secure = MemoryClient(certified.issuer.trusted()), server.open()
    client.greet(secure, plain)
    return client, secure


def _state(secure: Secure) -> list[bool]:
    return [secure.is_on, secure.has_ended, secure.has_failed]


def test_a_connection(tls_server: Server, certified: Certified, plain: memoryview) -> None:
    """It begins with the handshake, carries both ways, and ends with either side's close_notify."""
    client, secure = MemoryClient(certified.issuer.trusted()), tls_server.open()
    assert ([False, False, False], (UNKNOWN, 0)) == (_state(secure), secure.names)
    client.greet(secure, plain)
    assert [True, False, False] == _state(secure)
    version, suite = secure.names
    assert (b"TLSv1.3", b"TLS_AES_256_GCM_SHA384") == (VERSIONS[version], SUITES[suite].name)
    size = secure.receive(client.say(b"one ") + client.say(b"two"), plain)
    assert b"one two" == bytes(plain[:size])
    assert b"three" == client.read(secure.send(b"three"))
    assert 3 == secure.receive(client.farewell(b"end"), plain)
    assert [True, True, False] == _state(secure)


def test_the_clients_end_after_our_own(tls_server: Server, certified: Certified, plain: memoryview) -> None:
    """What it said until then is carried, and its end is an end."""
    client, secure = connected(tls_server, certified, plain)
    assert secure.close()
    size = secure.receive(client.say(b"still here"), plain)
    assert (b"still here", False) == (bytes(plain[:size]), secure.has_ended)
    assert 0 == secure.receive(client.farewell(b""), plain)
    assert [True, True, False] == _state(secure)


def test_records_in_pieces(tls_server: Server, certified: Certified, plain: memoryview) -> None:
    """They are waited for, one beside the other: those that share the buffers share no byte."""
    pairs = [connected(tls_server, certified, plain) for _ in range(2)]
    records = [client.say(b"from %d" % number) for number, (client, _) in enumerate(pairs)]
    said = [b"", b""]
    for piece in zip(*records, strict=True):
        for number, (byte, (_, secure)) in enumerate(zip(piece, pairs, strict=True)):
            said[number] += plain[: secure.receive(bytes([byte]), plain)]
    assert [b"from 0", b"from 1"] == said
    assert [[True, False, False]] * 2 == [_state(secure) for _, secure in pairs]


def test_garbage(tls_server: Server, certified: Certified, plain: memoryview) -> None:
    """What is no record ends the connection; after the alert nothing is sent, and nothing raises."""
    _client, secure = connected(tls_server, certified, plain)
    assert 0 == secure.receive(b"USER bob\r\n", plain)
    assert [True, False, True] == _state(secure)
    assert secure.pending()
    assert (b"", b"", [True, False, True]) == (secure.send(b"late"), secure.close(), _state(secure))


def test_what_is_sent_after_the_end(tls_server: Server, certified: Certified, plain: memoryview) -> None:
    """It goes nowhere, and the connection has failed."""
    _client, secure = connected(tls_server, certified, plain)
    secure.close()
    assert (b"", [True, False, True]) == (secure.send(b"late"), _state(secure))


@pytest.mark.parametrize(("size", "fails"), [(32768, False), (32769, True)])
def test_the_longest_handshake(tls_server: Server, plain: memoryview, size: int, *, fails: bool) -> None:
    """One that is not complete after 32 KiB has failed, in however many pieces it comes."""
    hello = b"\x01\x01\xff\x00" + bytes(40_000)
    records = b"".join(
        b"\x16\x03\x01" + len(part).to_bytes(2) + part
        for part in (hello[start : start + 10_000] for start in range(0, len(hello), 10_000))
    )
    secure = tls_server.open()
    for start in range(0, size, 1000):
        assert [False, False, False] == _state(secure)
        secure.receive(records[start : min(start + 1000, size)], plain)
    assert [False, False, fails] == _state(secure)


def test_a_long_session_is_no_long_handshake(
    tls_server: Server, certified: Certified, plain: memoryview
) -> None:
    """After the handshake nothing is counted, neither bytes nor reads that complete no record."""
    client, secure = connected(tls_server, certified, plain)
    received = 0
    for _ in range(3):
        record = client.say(bytes(16_000))
        received += sum(secure.receive(record[at : at + 1], plain) for at in range(len(record)))
    assert (48_000, [True, False, False]) == (received, _state(secure))
