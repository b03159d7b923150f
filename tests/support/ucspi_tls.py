"""A UCSPI-TLS server on the `ssl` module, to stand where sslserver stands.

    CERTFILE=… KEYFILE=… [UCSPITLS=…] python -m tests.support.ucspi_tls 127.0.0.1 PORT PROGRAM [ARGUMENT...]

It prints its port, then starts PROGRAM for each connection. Where UCSPITLS is set, PROGRAM has the bare
socket on descriptors 0 and 1, and three more, named by SSLCTLFD, SSLREADFD and SSLWRITEFD: as soon as it
writes `Y` to the first, TLS is spoken on the socket and clear text on the other two. Where UCSPITLS is not
set, TLS is spoken from the first byte; the three are named anyway, and the last two are closed.
LOCALPORT, if set, is named as the local port in place of the real one (995 needs root).

It treats PROGRAM as sslserver 0.92 does, as read in its source and seen in traces of it. It never waits for
it, except for a look whether it has ended; it sends it SIGTERM, and ends, as soon as
- the last copy of SSLCTLFD is closed and TLS was not asked for,
- the handshake has failed,
- the client has gone by a reset or another error: what was read is in PROGRAM's pipe, which is closed,
- PROGRAM's output pipe is closed, and the client has closed its side or can be told no more.
A client that closes in order only closes PROGRAM's input; what PROGRAM still says is taken, for nobody.
Where sslserver would spin forever, on a client that goes without a word, this one takes it for closed.
"""

import os
import signal
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from select import select
from signal import SIG_DFL, SIG_IGN, SIGCHLD, SIGTERM

from tests.support import descriptors

_CONTROL, _READ, _WRITE = 10, 11, 12
_NAMES = {"SSLCTLFD": str(_CONTROL), "SSLREADFD": str(_READ), "SSLWRITEFD": str(_WRITE)}
_CHUNK = 65536
_HANDSHAKE_SECONDS = 30.0


def main(host: str, port: str, *program: str) -> None:
    """Serve until a signal ends it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["CERTFILE"], os.environ["KEYFILE"])
    signal.signal(SIGCHLD, SIG_IGN)  # the kernel buries the keepers
    with socket.create_server((host, int(port)), backlog=512) as listener:
        os.write(1, b"%d\n" % listener.getsockname()[1])
        while True:
            connection, (address, _) = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(SIGCHLD, SIG_DFL)
                _keep(connection, address, context, program)
                os._exit(0)
            connection.close()


def _keep(connection: socket.socket, address: str, context: ssl.SSLContext, program: Sequence[str]) -> None:
    """Keep one connection, from its start to its end."""
    port = os.environ.get("LOCALPORT") or str(connection.getsockname()[1])
    env = {**os.environ, "PROTO": "SSL", "SSLREMOTEIP": address, "SSLLOCALPORT": port}
    keeper = _on_request if "UCSPITLS" in os.environ else _from_the_start
    keeper(connection, context, program, env)


def _on_request(
    connection: socket.socket, context: ssl.SSLContext, program: Sequence[str], env: dict[str, str]
) -> None:
    control, far_control = socket.socketpair()
    far_reader, writer = os.pipe()
    reader, far_writer = os.pipe()
    bare = connection.fileno()
    fds = {0: bare, 1: bare, _CONTROL: far_control.fileno(), _READ: far_reader, _WRITE: far_writer}
    child = _start(program, fds, env | _NAMES)
    far_control.close()
    descriptors.close({far_reader, far_writer})
    command = control.recv(1)
    if command and (secure := _handshake(connection, context)):
        if command == b"Y":
            control.sendall(_block(_told(secure)))
        _pump(secure, reader, writer)
    _leave(child)


def _from_the_start(
    connection: socket.socket, context: ssl.SSLContext, program: Sequence[str], env: dict[str, str]
) -> None:
    secure = _handshake(connection, context)
    if secure is None:
        return
    control, far_control = socket.socketpair()
    far_reader, writer = os.pipe()
    reader, far_writer = os.pipe()
    fds = {0: far_reader, 1: far_writer, _CONTROL: far_control.fileno()}
    child = _start(program, fds, env | _told(secure) | _NAMES)
    far_control.close()
    descriptors.close({far_reader, far_writer})
    _pump(secure, reader, writer)
    _leave(child)
    control.close()


def _leave(child: descriptors.Started) -> None:
    """Be gone, and say so to a program that is not: nobody waits for it."""
    if child.poll() is None:
        child.send_signal(SIGTERM)


def _start(program: Sequence[str], fds: Mapping[int, int], env: Mapping[str, str]) -> descriptors.Started:
    return descriptors.start(program, {2: 2, 5: 5, **fds}, env=env)


def _handshake(connection: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket | None:
    connection.settimeout(_HANDSHAKE_SECONDS)
    with suppress(OSError):  # all that ssl raises is one
        return context.wrap_socket(connection, server_side=True)
    return None


def _told(secure: ssl.SSLSocket) -> dict[str, str]:
    """Return what sslserver says of TLS, by its names."""
    cipher = secure.cipher()
    return {"SSL_PROTOCOL": secure.version() or "", "SSL_CIPHER": cipher[0] if cipher else ""}


def _block(variables: Mapping[str, str]) -> bytes:
    return "".join(f"{name}={value}\0" for name, value in variables.items()).encode() + b"\0"


def _pump(secure: ssl.SSLSocket, reader: int, writer: int) -> None:
    """Carry both ways until the program's output or the client has ended; then close both pipes."""
    listening = [secure.fileno(), reader]
    with suppress(OSError):
        while True:
            ready = [secure.fileno()] if secure.pending() else select(listening, [], [])[0]
            if reader in ready and not _outward(secure, reader):
                secure.settimeout(0)  # says goodbye and waits for no answer
                secure.unwrap()
                break
            if secure.fileno() in ready and not _inward(secure, writer):
                listening.remove(secure.fileno())
                os.close(writer)
    descriptors.close({reader, writer})
    secure.close()


def _outward(secure: ssl.SSLSocket, reader: int) -> bool:
    """Carry what the program says; OSError where the client can be told no more."""
    data = os.read(reader, _CHUNK)
    secure.settimeout(None)
    secure.sendall(data)
    return bool(data)


def _inward(secure: ssl.SSLSocket, writer: int) -> bool:
    """Carry what the client says; False at its end, or the program's; OSError where it was reset."""
    secure.settimeout(0)
    try:
        data = secure.recv(_CHUNK)
    except ssl.SSLWantReadError:  # half a record, or none of the client's own
        return True
    try:
        os.write(writer, data)
    except BrokenPipeError:
        return False
    return bool(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
