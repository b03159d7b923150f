"""Client and local addresses as 16 bytes of IPv6; IPv4 is mapped (RFC 4291 section 2.5.5.2)."""

import ipaddress
import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

_MAPPED = b"\0" * 10 + b"\xff\xff"
_IPV4_BITS, _ALL_BITS = 32, (1 << 128) - 1
_NETWORK = 8  # bytes: an IPv6 host has a /64

Name = tuple[str, int] | tuple[str, int, int, int]


class Address(NamedTuple):
    """An address and a port."""

    ip: bytes
    port: int


class Network(NamedTuple):
    """All addresses with the same prefix."""

    number: int
    mask: int
    is_ipv4: bool


def read_network(text: str) -> Network:
    """Parse an address or ADDRESS/BITS in text form; ValueError."""
    network = ipaddress.ip_network(text)
    first = read((str(network.network_address), 0)).ip
    ipv4 = is_ipv4(first) and network.max_prefixlen - network.prefixlen <= _IPV4_BITS
    return Network(int.from_bytes(first), _ALL_BITS ^ int(network.hostmask), ipv4)


def is_in(ip: bytes, networks: Iterable[Network]) -> bool:
    """Return whether an address is in one of the networks."""
    return any(
        is_ipv4(ip) == network.is_ipv4 and int.from_bytes(ip) & network.mask == network.number
        for network in networks
    )


def read(name: Name) -> Address:
    """Convert an address as Python returns it from accept(2), getpeername(2) and getsockname(2)."""
    host, port = name[:2]
    if ":" in host:
        return Address(socket.inet_pton(socket.AF_INET6, host.partition("%")[0]), port)
    return Address(_MAPPED + socket.inet_aton(host), port)


read_local = lru_cache(maxsize=1024)(read)
"""As `read`, for getsockname(2): there are few local addresses."""


def is_ipv4(ip: bytes) -> bool:
    """Return whether an address is a mapped IPv4 address."""
    return ip.startswith(_MAPPED)


def ipv4(ip: bytes) -> bytes:
    """Return the 4 bytes of a mapped IPv4 address."""
    return ip[len(_MAPPED) :]


@lru_cache(maxsize=1024)  # used four times a session, and the local address rarely changes
def numeric(ip: bytes) -> bytes:
    """Return an address in text form."""
    if is_ipv4(ip):
        return socket.inet_ntop(socket.AF_INET, ipv4(ip)).encode()
    return socket.inet_ntop(socket.AF_INET6, ip).encode()


def client(ip: bytes) -> bytes:
    """Return what counts as one client: an IPv4 address, or an IPv6 /64."""
    return ip if is_ipv4(ip) else ip[:_NETWORK]
