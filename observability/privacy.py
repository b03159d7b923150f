"""What may be shown about a person: user names and addresses, as the operator decided.

The only place from which a log or a span gets either. By default a user name is shown as an HMAC: equal names
have equal hashes, and without the key nobody can find a name by trying a list.
"""

import hmac
import ipaddress
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from observability.arrivals.parsing import Event
from observability.errors import UnusableError, reason

_KEY_BYTES = 32
_PREFIX_BITS = {4: 24, 6: 48}


class Privacy(NamedTuple):
    """Privacy settings. user_names: off, hash or plain; addresses: plain, prefix or off."""

    user_names: str
    addresses: str
    key: bytes

    def user(self, event: Event) -> dict[str, str]:
        """Return user.hash or user.name of the user who tried to log in, {} if there is none."""
        if event.method in (None, "Any"):
            return {}
        return _USERS[self.user_names](event.user, self.key)

    def address(self, event: Event) -> str | None:
        """Return the client's address, as far as it may be shown."""
        return _ADDRESSES[self.addresses](event.client_ip)


def load_key(path: Path) -> bytes:
    """Return the key stored in path, mode 0600; generate it if it is missing."""
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise UnusableError(f"cannot use the key {path}: {reason(error)}") from error
    if len(key) < _KEY_BYTES:
        raise UnusableError(f"the key in {path} is too short")
    return key


def _make_key(path: Path) -> None:
    """Write the key to a temporary file and rename it, so that no reader sees a partial key."""
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(os.urandom(_KEY_BYTES))
        os.fsync(file.fileno())
    aside.rename(path)


def _hidden(_name: bytes, _key: bytes) -> dict[str, str]:
    return {}


def _hashed(name: bytes, key: bytes) -> dict[str, str]:
    return {"user.hash": hmac.digest(key, name, "sha256").hex()}


def _named(name: bytes, _key: bytes) -> dict[str, str]:
    return {"user.name": name.decode(errors="backslashreplace")}


def _plain(address: str | None) -> str | None:
    return address


def _prefix(address: str | None) -> str | None:
    try:
        known = ipaddress.ip_address(address or "")
    except ValueError:
        return None  # not an address, so how much of it may be shown is unknown
    return str(ipaddress.ip_network((known, _PREFIX_BITS[known.version]), strict=False))


def _no_address(_address: str | None) -> str | None:
    return None


_USERS: dict[str, Callable[[bytes, bytes], dict[str, str]]] = {
    "off": _hidden,
    "hash": _hashed,
    "plain": _named,
}
_ADDRESSES: dict[str, Callable[[str | None], str | None]] = {
    "plain": _plain,
    "prefix": _prefix,
    "off": _no_address,
}
USER_NAMES = tuple(_USERS)
CLIENT_ADDRESSES = tuple(_ADDRESSES)
