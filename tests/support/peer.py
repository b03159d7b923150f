"""A fake gateway with scripted answers, including those that a real one cannot be made to give."""

import queue
import socket
import ssl

from tests.support.background import Background
from tests.support.waiting import TIMEOUT

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
HANG_UP = b""


class Peer(Background):
    """Receives one request per connection in a thread, and answers each when the test provides an answer."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen."""
        super().__init__(self._serve)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        self._requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.url = f"http{'s' if tls else ''}://localhost:{self._listener.getsockname()[1]}"

    def answer(self, *answers: bytes) -> None:
        """Answer the next requests with these, in order; HANG_UP closes without an answer."""
        for answer in answers:
            self._answers.put(answer)

    def request(self) -> bytes:
        """Return the next request; queue.Empty if none arrives in time."""
        return self._requests.get(timeout=TIMEOUT)

    @property
    def received(self) -> int:
        """Number of requests received but not yet returned."""
        return self._requests.qsize()

    def requests(self) -> list[bytes]:
        """Return the first lines of the requests received so far, without waiting."""
        return [self._requests.get().partition(b"\r\n")[0] for _ in range(self._requests.qsize())]

    def stop(self) -> None:
        """Stop listening."""
        self._answers.put(None)
        self._listener.shutdown(socket.SHUT_RDWR)
        super().stop()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed by stop()
                return
            with connection:
                if not self._is_served(connection):
                    return

    def _is_served(self, bare: socket.socket) -> bool:
        bare.settimeout(TIMEOUT)
        try:
            connection = self._tls.wrap_socket(bare, server_side=True) if self._tls else bare
        except OSError:  # the client does not trust our certificate
            return True
        with connection:
            self._requests.put(_read(connection))
            answer = self._answers.get()
            if answer:
                connection.sendall(answer)
        return answer is not None


def _read(connection: socket.socket) -> bytes:
    """Read one request with its body."""
    request = b""
    while b"\r\n\r\n" not in request or len(request.partition(b"\r\n\r\n")[2]) < _length(request):
        piece = connection.recv(65536)
        if not piece:
            break
        request += piece
    return request


def _length(request: bytes) -> int:
    _, _, rest = request.partition(b"Content-Length: ")
    return int(rest.partition(b"\r\n")[0])
