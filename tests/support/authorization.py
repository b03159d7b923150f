"""A protocol state for tests, and a function that feeds lines to it."""

from qmail_popup.protocol import Authorization

STAMP = b"<1.2@pop.example.org>"
OFF = {"apop": False, "stls": False, "tls_required": False, "tls": False, "resp_codes": False}

Said = list[tuple[bytes, bytes, str]]


def authorization(*switches: str) -> Authorization:
    """Return a new state with `switches` on and all others off."""
    return Authorization(STAMP, **(OFF | dict.fromkeys(switches, True)))


def told(state: Authorization, *lines: bytes) -> Said:
    """Feed `lines` to the state; return each with its reply and action."""
    return [(line, *state.command(bytearray(line))) for line in lines]
