"""Hosts with their own addresses: network namespaces, each connected to the test's by a veth pair.

The test, with its threads and processes, enters a private namespace while the context lasts, so that no
address or port can conflict. Each host is a namespace connected to that one. Namespaces exist while a process
is in them or holds a descriptor on them.

If they cannot be created (that takes root and iproute2), each host is a set of ports on 127.0.0.1 instead.
For scraping there is no difference: a host is identified by address and port.
"""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from tests.support.programs import find

LOOPBACK = "127.0.0.1"
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_HERE = "/proc/thread-self/ns/net"
# RFC 5737: addresses for documentation, which no real host has.
_GATEWAY, _FIRST_HOST = "192.0.2.1", 11

_NEAR = """\
link add {name} type veth peer name eth0 netns {namespace}
addr add {gateway} peer {address} dev {name}
link set {name} up
"""
_FAR = """\
link set lo up
addr add {address} peer {gateway} dev eth0
link set eth0 up
"""


class Node(NamedTuple):
    """One host: name, address, the test's address as seen from it, and how to start a program on it."""

    name: str
    address: str
    gateway: str
    enter: tuple[str, ...]

    @property
    def has_own_ports(self) -> bool:
        """Whether its ports are its own, so that default ports can be used."""
        return bool(self.enter)


@contextmanager
def network(*names: str) -> Iterator[list[Node]]:
    """Yield a host for each name: namespaces if possible, else ports."""
    with ExitStack() as stack:
        try:
            nodes = _namespaces(names, stack)
        except (OSError, subprocess.CalledProcessError):  # a kernel without veth, or missing permissions
            stack.close()
            nodes = []
        yield nodes or [Node(name, LOOPBACK, LOOPBACK, ()) for name in names]


def _namespaces(names: Sequence[str], stack: ExitStack) -> list[Node]:
    """Create namespaces, closed by the stack; none if impossible."""
    ip, nsenter = find("ip"), find("nsenter")
    before = _descriptor(stack)
    if not (ip and nsenter and _has_entered_new()):
        return []
    stack.callback(_enter, before)
    _configure([ip], "link set lo up\n")
    inside = _descriptor(stack)
    nodes = []
    for number, name in enumerate(names, _FIRST_HOST):
        there = _made_behind(inside, stack)
        node = Node(name, f"192.0.2.{number}", _GATEWAY, (nsenter, f"--net={there}"))
        told = {"name": name, "address": node.address, "gateway": _GATEWAY, "namespace": there}
        _configure([ip], _NEAR.format(**told))
        _configure([*node.enter, ip], _FAR.format(**told))
        nodes.append(node)
    return nodes


def _made_behind(inside: int, stack: ExitStack) -> str:
    """Create another namespace and return to `inside`; return the path of the new one."""
    if not _has_entered_new():
        raise OSError("one namespace could be made, and no second")
    there = _descriptor(stack)
    _enter(inside)
    return f"/proc/{os.getpid()}/fd/{there}"


def _descriptor(stack: ExitStack) -> int:
    """Return a descriptor on this thread's namespace."""
    opened = os.open(_HERE, os.O_RDONLY)
    stack.callback(os.close, opened)
    return opened


def _configure(ip: Sequence[str], commands: str) -> None:
    subprocess.run([*ip, "-batch", "-"], input=commands, text=True, capture_output=True, check=True)


# os.unshare and os.setns exist since Python 3.12.
def _libc(name: str) -> Callable[..., int]:
    function: Callable[..., int] = getattr(ctypes.CDLL(None, use_errno=True), name)
    return function


def _has_entered_new() -> bool:
    return _libc("unshare")(_CLONE_NEWNET) == 0


def _enter(namespace: int) -> None:
    if _libc("setns")(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "this thread cannot get into its namespace")
