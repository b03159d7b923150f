"""The least that an exactly-once sidecar in Python has to do, as a fixed thing to measure ours against.

    python -m tests.bench.bare SOCKET DATABASE

Accepts, receives, stores the sixteen bytes of each identity, commits, acknowledges and closes, in batches of
whatever has connected. It believes what it is sent, counts nothing, and stands on the standard library alone,
so that no change to the product changes it.
"""

import contextlib
import select
import socket
import sqlite3
import sys

_BACKLOG = 4096
_AT_ONCE = 512
_SIZE = 8192
_TRACE = slice(len(b"V=1\0TRACE="), len(b"V=1\0TRACE=") + 32)
_TABLES = """
    PRAGMA page_size = 1024;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE seen (identity BLOB PRIMARY KEY) WITHOUT ROWID;
"""


def serve(path: str, database: str) -> None:
    """Serve popups until killed."""
    store = sqlite3.connect(database, isolation_level=None)
    store.executescript(_TABLES)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(_BACKLOG)
    listener.settimeout(0)
    print("serves", flush=True)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    while poll.poll():
        _batch(listener, store)


def _batch(listener: socket.socket, store: sqlite3.Connection) -> None:
    peers: list[socket.socket] = []
    with contextlib.suppress(BlockingIOError):
        while len(peers) < _AT_ONCE:
            peers.append(listener.accept()[0])
    identities = sorted(bytes.fromhex(peer.recv(_SIZE)[_TRACE].decode()) for peer in peers)
    store.execute("BEGIN IMMEDIATE")
    store.executemany("INSERT OR IGNORE INTO seen VALUES (?)", [(identity,) for identity in identities])
    store.execute("COMMIT")
    for peer in peers:
        peer.send(b"\n")
        peer.close()


if __name__ == "__main__":
    serve(*sys.argv[1:])
