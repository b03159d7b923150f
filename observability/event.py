r"""The event: what one session has to tell, as the bytes that travel.

This is the contract between the popup and the sidecar, and the popup's half of it: an environment block,
`NAME=value\0...END=1\0\0`, as UCSPI-TLS and descriptor 3 use them. It runs inside the popup, so it imports
nothing; who has to trust what others sent reads it with parsing.py.
"""

# One write of this size to a stream socket or to a file is not torn by other writers.
LIMIT = 4096

# In the spool each event has this before it, so that a torn one spoils no other.
SEPARATOR = b"\0\0"

# What an event that would be too long leaves out, in this order, and never the record. The server names
# the last ones, so nothing but a server that makes no sense gets that far.
EXPENDABLE = (
    b"CLIENT_HOST",
    b"CIPHER",
    b"TLS",
    b"CLIENT_IP",
    b"CLIENT_PORT",
    b"LOCAL_IP",
    b"LOCAL_PORT",
)


def build(fields: dict[bytes, bytes]) -> bytes:
    """Return the block that holds fields, values without NUL, between the version and the end mark."""
    left = dict(fields)
    block = _block(left)
    for name in EXPENDABLE:
        if len(block) <= LIMIT:
            break
        left.pop(name, None)
        block = _block(left)
    return block


def _block(fields: dict[bytes, bytes]) -> bytes:
    entries = [name + b"=" + value for name, value in fields.items()]
    return b"\0".join([b"V=1", *entries, b"END=1", b"\0"])
