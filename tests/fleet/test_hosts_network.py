"""The network of a test's own: hosts are apart from each other, and from everything outside."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import networks
from tests.support.networks import LOOPBACK, Node, network
from tests.support.programs import denied, find

_NAMESPACE = Path("/proc/thread-self/ns/net")
_SERVE = """\
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as listener:
    print(listener.getsockname()[1], flush=True)
    listener.accept()[0].sendall(sys.argv[3].encode())
"""


def _serving(node: Node, port: int) -> "subprocess.Popen[str]":
    command = [*node.enter, sys.executable, "-c", _SERVE, node.address, str(port), node.name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _heard(node: Node, port: int) -> str:
    """Start a server on the node, and return what it says to one who connects."""
    with _serving(node, port) as server:
        assert server.stdout
        with socket.create_connection((node.address, int(server.stdout.readline()))) as client:
            return client.recv(64).decode()


def test_each_host_is_reached_at_its_address() -> None:
    """Wherever it is, what runs on it is what answers there."""
    with network("mail1", "mail2") as nodes:
        assert ["mail1", "mail2"] == [_heard(node, 0) for node in nodes]


def test_hosts_have_their_ports_to_themselves() -> None:
    """Two of them may hold the same one."""
    with network("mail1", "mail2") as nodes:
        if not all(node.has_own_ports for node in nodes):
            denied("no network namespace can be made here")
        with _serving(nodes[0], 110) as first:
            assert first.stdout
            first.stdout.readline()
            assert "mail2" == _heard(nodes[1], 110)
            first.terminate()


def test_the_test_is_back_where_it_was() -> None:
    """Also where something went wrong inside."""
    before = os.readlink(_NAMESPACE)
    with pytest.raises(KeyError), network("mail1"):
        raise KeyError
    assert before == os.readlink(_NAMESPACE)


@pytest.mark.parametrize("ip", [None, "/bin/false"], ids=["without iproute2", "without veth"])
def test_where_namespaces_cannot_be_joined_hosts_are_ports(
    monkeypatch: pytest.MonkeyPatch, ip: str | None
) -> None:
    """On 127.0.0.1, where the test stays."""
    monkeypatch.setattr(networks, "find", lambda name: ip if name == "ip" else find(name))
    with network("mail1", "mail2") as nodes:
        assert [LOOPBACK, LOOPBACK] == [node.address for node in nodes]
        assert ["mail1", "mail2"] == [_heard(node, 0) for node in nodes]
