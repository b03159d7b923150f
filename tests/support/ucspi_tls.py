"""A UCSPI-TLS server on the `ssl` module, as a substitute for sslserver.

    CERTFILE=… KEYFILE=… [UCSPITLS=…] python -m tests.support.ucspi_tls 127.0.0.1 PORT PROGRAM [ARGUMENT...]

It prints its port, then starts PROGRAM for each connection. If UCSPITLS is set, PROGRAM has the bare socket
on descriptors 0 and 1, and three more, named by SSLCTLFD, SSLREADFD and SSLWRITEFD: after it writes `Y` to
the first, the socket carries TLS and the other two plaintext. If UCSPITLS is not set, TLS starts with the
first byte; the three variables are set anyway, and the last two descriptors are closed. LOCALPORT, if set,
overrides the local port reported (995 needs root).

It treats PROGRAM as sslserver 0.92 does, according to its source and traces of it. It never waits for
PROGRAM, but only polls whether it has ended; it sends SIGTERM to PROGRAM, and exits, as soon as
- the last copy of SSLCTLFD is closed and TLS was not requested,
- the handshake has failed,
- the client's connection fails by a reset or another error: PROGRAM's pipe, with the bytes read, is closed,
- PROGRAM's output pipe is closed, and the client has closed its side or cannot be sent more.
A clean close by the client only closes PROGRAM's input; PROGRAM's further output is read and discarded.
If a client disappears without close_notify, sslserver would spin forever; this server treats it as closed.
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
    signal.signal(SIGCHLD, SIG_IGN)  # the kernel reaps the keepers
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
    """Serve one connection, from its start to its end."""
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
    """Exit, sending SIGTERM to the program if it still runs, without waiting for it."""
    if child.poll() is None:
        child.send_signal(SIGTERM)


def _start(program: Sequence[str], fds: Mapping[int, int], env: Mapping[str, str]) -> descriptors.Started:
    return descriptors.start(program, {2: 2, 5: 5, **fds}, env=env)


def _handshake(connection: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket | None:
    connection.settimeout(_HANDSHAKE_SECONDS)
    with suppress(OSError):  # ssl's exceptions are OSErrors
        return context.wrap_socket(connection, server_side=True)
    return None


def _told(secure: ssl.SSLSocket) -> dict[str, str]:
    """Return sslserver's variables about TLS."""
    cipher = secure.cipher()
    return {"SSL_PROTOCOL": secure.version() or "", "SSL_CIPHER": cipher[0] if cipher else ""}


def _block(variables: Mapping[str, str]) -> bytes:
    return "".join(f"{name}={value}\0" for name, value in variables.items()).encode() + b"\0"


def _pump(secure: ssl.SSLSocket, reader: int, writer: int) -> None:
    """Relay both directions until the program's output or the client has ended; then close both pipes."""
    listening = [secure.fileno(), reader]
    with suppress(OSError):
        while True:
            ready = [secure.fileno()] if secure.pending() else select(listening, [], [])[0]
            if reader in ready and not _outward(secure, reader):
                secure.settimeout(0)  # sends close_notify without waiting for an answer
                secure.unwrap()
                break
            if secure.fileno() in ready and not _inward(secure, writer):
                listening.remove(secure.fileno())
                os.close(writer)
    descriptors.close({reader, writer})
    secure.close()


def _outward(secure: ssl.SSLSocket, reader: int) -> bool:
    """Relay the program's output; OSError if the client cannot be sent more."""
    data = os.read(reader, _CHUNK)
    secure.settimeout(None)
    secure.sendall(data)
    return bool(data)


def _inward(secure: ssl.SSLSocket, writer: int) -> bool:
    """Relay the client's input; False if the client or the program has closed; OSError after a reset."""
    secure.settimeout(0)
    try:
        data = secure.recv(_CHUNK)
    except ssl.SSLWantReadError:  # an incomplete record, or one without application data
        return True
    try:
        os.write(writer, data)
    except BrokenPipeError:
        return False
    return bool(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
