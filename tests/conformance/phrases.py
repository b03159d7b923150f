"""What nearly every vector says: greetings, logins, replies, records."""

Steps = list[list[str]]

OK = "+OK\r\n"
DONE = "+OK \r\n"
STARTING = "+OK starting TLS negotiation\r\n"
UNAUTHORIZED = "-ERR authorization first\r\n"
SYNTAX = "-ERR syntax error\r\n"
TOO_LONG = "-ERR line too long\r\n"
USER_FIRST = "-ERR USER first\r\n"
NO_STLS = "-ERR STLS not available\r\n"
NO_APOP = "-ERR APOP not available\r\n"
TLS_REQUIRED = "-ERR TLS required but not negotiated\r\n"
FAILED = "-ERR authorization failed\r\n"

LOGIN = "USER bob\r\nPASS x\r\n"
GIVEN = "bob\0x\0{stamp}\0"
"""What LOGIN gives the subprogram."""


def told(text: str, greeting: str = OK) -> Steps:
    """Return the steps of a client that waits for the greeting, says all at once and half-closes."""
    return [["read", greeting], ["send", text], ["eof"]]


def over_tls(*then: list[str], start: str = "tls") -> Steps:
    """Return the steps of a client that starts TLS, and `then`."""
    return [["read", OK], ["send", "STLS\r\n"], ["read", STARTING], [start], *then]


def capabilities(*names: str) -> str:
    """Return the reply to CAPA."""
    return "".join(f"{line}\r\n" for line in ("+OK capability list follows", *names, "."))


def record(
    result: str = "Accept",
    *,
    method: str = "User",
    protocol: str = "POP3",
    source: str = "unknown:unknown",
    name: str = "bob",
) -> list[str]:
    """Return the log of a session with one attempt."""
    means = "STLS" if method == "Any" else "AUTH"
    return [f"qmail-popup: pid {{pid}} {result}::{means}::{method} P:{protocol} S:{source} ?~ '{name}'"]
