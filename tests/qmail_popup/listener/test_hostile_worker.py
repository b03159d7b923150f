"""What a worker that was taken over can do to the spawner: log in and forge counts, and nothing more."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from qmail_popup.listener.addresses import Address, read
from qmail_popup.listener.ipc.frames import BEGIN, END, MAX_TEXT, Frame, head
from tests.support.programs import need_root
from tests.support.stand_in import FIRST, SLOT, StandIn, client, login
from tests.support.waiting import until

_SO_SNDBUFFORCE = 32  # socket(7); the module socket has no name for it


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    """Return a stand-in for the worker of a real spawner."""
    with StandIn(tmp_path, ["/bin/sh", "-c", "env; cat <&3 | tr '\\0' '|'"]) as running:
        yield running


def served(stand_in: StandIn, frame: Frame, source: str = "127.0.0.1") -> str:
    """Log in from an address, and return what the subprogram said."""
    near, far = client(source)
    with closing(near):
        stand_in.send(frame, far.fileno())
        far.close()
        return b"".join(iter(lambda: near.recv(65536), b"")).decode()


def test_a_good_login(stand_in: StandIn) -> None:
    """A stand-in is served as a worker is, with the address of the descriptor, whatever it tells."""
    said = served(stand_in, login())
    assert "bob|x|<" in said
    assert "TCPREMOTEIP=127.0.0.1\n" in said
    until(lambda: 1 == len(stand_in.records()))
    assert " S:127.0.0.1:unknown ?~ 'bob'" in stand_in.records()[0]


@pytest.mark.parametrize(
    ("network", "address"),
    [("127.0.0.0/8", "192.0.2.9"), ("127.0.0.2", "127.0.0.1")],
    ids=["balancer", "client"],
)
def test_an_address_that_it_tells(tmp_path: Path, network: str, address: str) -> None:
    """It is believed of connections from a load balancer, and of no others."""
    with StandIn(tmp_path, ["/usr/bin/env"], "--proxy-protocol", network) as stand_in:
        said = served(stand_in, login(client=read(("192.0.2.9", 7))))
        assert f"TCPREMOTEIP={address}" in said.splitlines()


def test_nothing_in_the_environment_is_the_workers(stand_in: StandIn) -> None:
    """Whatever stands in name and secret, a variable of the subprogram it is not."""
    frame = login(name=b"LD_PRELOAD=/tmp/x\nA=b", secret=bytearray(b"LD_PRELOAD=/tmp/y"))
    variables = served(stand_in, frame).partition("LD_PRELOAD")[0]
    assert {"TCPREMOTEIP", "TCPLOCALIP", "PROTO"} <= {
        line.partition("=")[0] for line in variables.splitlines()
    }


def test_the_longest_login(stand_in: StandIn) -> None:
    """What a frame may hold is served."""
    name, secret = "n" * MAX_TEXT, "s" * MAX_TEXT
    said = served(stand_in, login(name=name.encode(), secret=bytearray(secret.encode())))
    assert f"{name}|{secret}|" in said


_BROKEN = {
    "a NUL in the name": login(name=b"b\0b"),
    "a NUL in the secret": login(secret=bytearray(b"x\0")),
    "no name": login(name=b""),
    "no secret": login(secret=bytearray()),
    "a name that is too long": login(name=b"n" * 4097),
    "a secret that is too long": login(secret=bytearray(b"s" * 4097)),
    "another worker's number": login(FIRST + SLOT + 1),
    "a number that is a pid": login(SLOT),
    "no such kind": login(kind=9),
    "no such method": login(word=2),
    "no such end": login(kind=END, word=200, name=b"", secret=bytearray()),
    "a name where nobody logs in": login(kind=END),
    "the future": login(reached=1 << 62),
    "times that run backwards": login(start=1 << 61),
    "no start": login(start=0, greeted=0),
    "a day before 1970": login(origin=-(1 << 62)),
    "a login without credentials": login(reached=0),
    "no such version of TLS": login(tls=4),
    "no such cipher suite": login(tls=3, suite=200),
    "a cipher suite in clear": login(suite=1),
    "a client's own socket over TLS": login(tls=3, suite=1),
}


@pytest.mark.parametrize("frame", _BROKEN.values(), ids=_BROKEN)
def test_a_broken_frame(stand_in: StandIn, frame: Frame) -> None:
    """Its worker is ended, with one line, and nobody else notices."""
    near, far = client()
    with closing(near), closing(far):
        stand_in.send(frame, *([far.fileno()] if frame.kind == login().kind else []))
        _is_ended(stand_in)
        far.close()
        near.settimeout(30)
        assert b"" == near.recv(1)


def _is_ended(stand_in: StandIn) -> None:
    """Hold that the worker is ended with one line and without a record, and that the next is served."""
    until(stand_in.is_ended)
    until(lambda: 1 == len(stand_in.lines()))
    assert stand_in.lines()[0].startswith("qmail-popup-listener: a worker sent ")
    assert [] == stand_in.records()
    stand_in.replace()
    assert "bob|x|<" in served(stand_in, login())


def test_a_megabyte(stand_in: StandIn) -> None:
    """What is longer than a frame can be is none."""
    need_root()  # a socket takes that much only from root
    stand_in.channel.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 4 << 20)
    stand_in.channel.send(head(login()) + bytes(1 << 20))
    _is_ended(stand_in)


def test_a_short_frame(stand_in: StandIn) -> None:
    """What is shorter is none either."""
    stand_in.channel.send(b"x")
    _is_ended(stand_in)


def test_a_frame_of_another_length(stand_in: StandIn) -> None:
    """Its length is what it says."""
    near, far = client()
    with closing(near), closing(far):
        stand_in.send(login(), far.fileno(), name=b"bobby")
        _is_ended(stand_in)


@pytest.mark.parametrize("count", [0, 2, 10, 200])
def test_a_number_of_descriptors(stand_in: StandIn, count: int) -> None:
    """A login brings one; all that come are closed."""
    near, far = client()
    served(stand_in, login())
    before = len(os.listdir(f"/proc/{stand_in.pid}/fd"))
    with closing(near), closing(far):
        stand_in.send(login(FIRST + SLOT + 256), *[far.fileno()] * count)
        until(stand_in.is_ended)
        until(lambda: before - 2 == len(os.listdir(f"/proc/{stand_in.pid}/fd")))  # its channel and its pidfd
    _has_one_line(stand_in)


def _has_one_line(stand_in: StandIn) -> None:
    until(lambda: any("a worker sent" in line for line in stand_in.lines()))
    assert 1 == len(stand_in.records())


def test_a_descriptor_that_belongs_to_no_login(stand_in: StandIn) -> None:
    """Where nobody logs in there is none."""
    near, far = client()
    with closing(near), closing(far):
        stand_in.send(login(kind=BEGIN, name=b"", secret=bytearray(), reached=0), far.fileno())
        _is_ended(stand_in)


def test_what_is_no_clients_socket(stand_in: StandIn, tmp_path: Path) -> None:
    """A pipe, a directory, a datagram socket, a Unix socket and one that listens are none."""
    unix, _other = socket.socketpair()
    with (
        unix,
        _other,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        reader, writer = os.pipe()
        directory = os.open(tmp_path, os.O_RDONLY)
        for fd in (reader, directory, datagram.fileno(), unix.fileno(), listening.fileno()):
            stand_in.send(login(), fd)
            until(stand_in.is_ended)
            stand_in.replace()
        for fd in (reader, writer, directory):
            os.close(fd)
    until(lambda: 5 == len(stand_in.lines()))
    assert [] == stand_in.records()


def test_a_number_that_is_in_use(stand_in: StandIn) -> None:
    """A number is given once."""
    begin = login(kind=BEGIN, name=b"", secret=bytearray(), reached=0)
    stand_in.send(begin)
    stand_in.send(begin)
    until(stand_in.is_ended)
    assert any("a session number that it has already used" in line for line in stand_in.lines())


def test_too_many_frames(stand_in: StandIn) -> None:
    """More connections than there may be are not believed."""
    for count in range(5):
        number = FIRST + SLOT + 256 * count
        stand_in.send(login(number, kind=BEGIN, name=b"", secret=bytearray(), reached=0))
    until(stand_in.is_ended)
    assert any("more connections than are allowed" in line for line in stand_in.lines())


def test_too_many_logins(tmp_path: Path) -> None:
    """What waits in the spawner is bounded, and a worker whose logins came while it was stopped lives on."""
    with StandIn(tmp_path, ["/bin/sleep", "60"]) as stand_in, ExitStack() as stack:
        nears = []
        for count in range(6):
            near, far = client()
            nears.append(stack.enter_context(near))
            stand_in.send(login(FIRST + SLOT + 256 * count), far.fileno())
            far.close()
        assert b"" == nears[-1].recv(1)
        with pytest.raises(BlockingIOError):
            nears[-2].recv(1, socket.MSG_DONTWAIT)
        until(lambda: 1 == sum("deny" in line for line in stand_in.lines()))
        assert not stand_in.is_ended()


def test_a_forged_end(stand_in: StandIn) -> None:
    """It ends a session of its own, and that is all that it does."""
    stand_in.send(login(kind=END, word=0, name=b"", secret=bytearray()))
    until(lambda: any(" status 0" in line for line in stand_in.lines()))
    assert [] == stand_in.records()
    assert "bob|x|<" in served(stand_in, login(FIRST + SLOT + 256))


def over_tls(stand_in: StandIn, frame: Frame) -> str:
    """Log in with one of a pair, as over TLS, and return what the subprogram said."""
    near, far = socket.socketpair()
    with near:
        stand_in.send(frame, far.fileno())
        far.close()
        return b"".join(iter(lambda: near.recv(65536), b"")).decode()


def test_a_login_over_tls(stand_in: StandIn) -> None:
    """Its addresses are the worker's word, and what TLS is called stands in tables of the spawner's."""
    client, local = (Address(bytes([32, last]) + b"\0" * 14, last) for last in (1, 2))
    said = over_tls(stand_in, login(tls=3, suite=1, client=client, local=local))
    assert "bob|x|<" in said
    told = dict(line.partition("=")[::2] for line in said.splitlines() if "=" in line)
    assert ("2001::", "1", "2002::", "2") == tuple(
        told[f"TCP6{name}"] for name in ("REMOTEIP", "REMOTEPORT", "LOCALIP", "LOCALPORT")
    )
    assert {
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
        "SSL_CIPHER_USEKEYSIZE": "256",
        "SSL_CIPHER_ALGKEYSIZE": "256",
    } == {name: value for name, value in told.items() if name.startswith("SSL")}
    until(lambda: 1 == len(stand_in.records()))
    assert " P:POP3S S:2001:::unknown ?~ 'bob'" in stand_in.records()[0]


def test_tls_without_names(stand_in: StandIn) -> None:
    """What has no name in the tables is not told, and TLS it is anyway."""
    assert "SSL" not in over_tls(stand_in, login(tls=1))
    until(lambda: 1 == len(stand_in.records()))
    assert " P:POP3S " in stand_in.records()[0]


def test_a_worker_that_ends_behind_a_login_over_tls(stand_in: StandIn) -> None:
    """The other end of the pair is closed by then, and the login one like any other."""
    near, far = socket.socketpair()
    near.close()
    with far:
        stand_in.send(login(tls=3, suite=1), far.fileno())
    until(lambda: 1 == len(stand_in.records()))


def test_what_is_none_of_a_pair(stand_in: StandIn, tmp_path: Path) -> None:
    """A Unix socket that leads to another program, or that one could connect to, is no client's."""
    with (
        closing(socket.socket(socket.AF_UNIX)) as server,
        closing(socket.socket(socket.AF_UNIX)) as to_server,
    ):
        server.bind(str(tmp_path / "socket"))
        server.listen()
        to_server.connect(str(tmp_path / "socket"))
        accepted, _ = server.accept()
        with accepted, socket.socket(socket.AF_UNIX) as alone, socket.socket() as tcp:
            datagrams = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            for sock in (server, to_server, accepted, alone, tcp, datagrams[0]):
                stand_in.send(login(tls=3, suite=1), sock.fileno())
                until(stand_in.is_ended)
                stand_in.replace()
            for sock in datagrams:
                sock.close()
    until(lambda: 6 == len(stand_in.lines()))
    assert [] == stand_in.records()
