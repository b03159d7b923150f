"""A UCSPI-TLS server on the `ssl` module, to stand where sslserver stands.

    CERTFILE=… KEYFILE=… [UCSPITLS=…] python -m tests.support.ucspi_tls 127.0.0.1 PORT PROGRAM [ARGUMENT...]

It prints its port, then starts PROGRAM for each connection. Where UCSPITLS is set, PROGRAM has the bare
socket on descriptors 0 and 1, and three more, named by SSLCTLFD, SSLREADFD and SSLWRITEFD: as soon as it
writes `Y` to the first, TLS is spoken on the socket and clear text on the other two. Where UCSPITLS is not
set, TLS is spoken from the first byte. LOCALPORT, if set, is named as the local port in place of the real
one (995 needs root).
"""

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from select import select
from signal import SIG_DFL, SIG_IGN, SIGCHLD, SIGTERM

from tests.support import descriptors

_CONTROL, _READ, _WRITE = 10, 11, 12
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
    env |= {"SSLCTLFD": str(_CONTROL), "SSLREADFD": str(_READ), "SSLWRITEFD": str(_WRITE)}
    bare = connection.fileno()
    fds = {0: bare, 1: bare, _CONTROL: far_control.fileno(), _READ: far_reader, _WRITE: far_writer}
    child = _start(program, fds, env)
    far_control.close()
    descriptors.close({far_reader, far_writer})
    command = control.recv(1)
    if not command:  # the last copy is closed: nobody can ask for TLS any more
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    elif secure := _handshake(connection, context):
        if command == b"Y":
            control.sendall(_block(_told(secure)))
        _pump(secure, reader, writer)
    else:
        child.send_signal(SIGTERM)
    child.wait()


def _from_the_start(
    connection: socket.socket, context: ssl.SSLContext, program: Sequence[str], env: dict[str, str]
) -> None:
    secure = _handshake(connection, context)
    if secure is None:
        return
    far_reader, writer = os.pipe()
    reader, far_writer = os.pipe()
    child = _start(program, {0: far_reader, 1: far_writer}, env | _told(secure))
    descriptors.close({far_reader, far_writer})
    _pump(secure, reader, writer)
    child.wait()


def _start(program: Sequence[str], fds: Mapping[int, int], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
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
    """Carry both ways until the program's side ends; the client's end is handed on as an end of input."""
    listening = [secure.fileno(), reader]
    while True:
        ready = [secure.fileno()] if secure.pending() else select(listening, [], [])[0]
        if reader in ready and not _outward(secure, reader):
            break
        if secure.fileno() in ready and not _inward(secure, writer):
            listening.remove(secure.fileno())
            os.close(writer)
    with suppress(OSError):
        secure.settimeout(0)  # says goodbye and waits for no answer
        secure.unwrap()
    secure.close()


def _outward(secure: ssl.SSLSocket, reader: int) -> bool:
    data = os.read(reader, _CHUNK)
    with suppress(OSError):  # the client is gone: what the program still says is nobody's
        secure.settimeout(None)
        secure.sendall(data)
    return bool(data)


def _inward(secure: ssl.SSLSocket, writer: int) -> bool:
    secure.settimeout(0)
    try:
        data = secure.recv(_CHUNK)
    except ssl.SSLWantReadError:  # half a record, or none of the client's own
        return True
    except OSError:
        return False
    with suppress(BrokenPipeError):
        os.write(writer, data)
    return bool(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
