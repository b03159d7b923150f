"""Hosts with addresses of their own: network namespaces, each joined by a veth pair to the test's.

The test enters a private namespace for as long as the context lasts, and with it whatever it starts, threads
and processes: nothing of it is seen outside, and no address or port can be in the way. A host is a namespace
behind that one. They live as long as something is in them or holds a descriptor on them.

Where none may be made (it takes root, and iproute2) each host is a set of ports on 127.0.0.1 instead. To who
scrapes them that is the same: a host is told by its address with its port.
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
# RFC 5737: addresses for documentation, which no host has.
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
    """One host: its name and address, the test's address as it sees it, and what starts a program on it."""

    name: str
    address: str
    gateway: str
    enter: tuple[str, ...]

    @property
    def has_own_ports(self) -> bool:
        """Whether nobody else can hold its ports, so that they may be the usual ones."""
        return bool(self.enter)


@contextmanager
def network(*names: str) -> Iterator[list[Node]]:
    """Give a host for each name: namespaces where they may be made, else ports."""
    with ExitStack() as stack:
        try:
            nodes = _namespaces(names, stack)
        except (OSError, subprocess.CalledProcessError):  # a kernel without veth, or half a permission
            stack.close()
            nodes = []
        yield nodes or [Node(name, LOOPBACK, LOOPBACK, ()) for name in names]


def _namespaces(names: Sequence[str], stack: ExitStack) -> list[Node]:
    """Make them, to be left with the stack; none where that is not possible."""
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
    """Make one more namespace, and be back in `inside`; the path of the new one."""
    if not _has_entered_new():
        raise OSError("one namespace could be made, and no second")
    there = _descriptor(stack)
    _enter(inside)
    return f"/proc/{os.getpid()}/fd/{there}"


def _descriptor(stack: ExitStack) -> int:
    """Return a descriptor on the namespace that this thread is in."""
    opened = os.open(_HERE, os.O_RDONLY)
    stack.callback(os.close, opened)
    return opened


def _configure(ip: Sequence[str], commands: str) -> None:
    subprocess.run([*ip, "-batch", "-"], input=commands, text=True, capture_output=True, check=True)


# Python has os.unshare and os.setns from 3.12 on.
def _libc(name: str) -> Callable[..., int]:
    function: Callable[..., int] = getattr(ctypes.CDLL(None, use_errno=True), name)
    return function


def _has_entered_new() -> bool:
    return _libc("unshare")(_CLONE_NEWNET) == 0


def _enter(namespace: int) -> None:
    if _libc("setns")(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "this thread cannot get into its namespace")
