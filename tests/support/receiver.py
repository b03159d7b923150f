"""A program that accepts any POST, as a gateway or collector would, and logs its path.

    python3 receiver.py PORT FILE     FILE gets a line with the path of each POST

It notifies NOTIFY_SOCKET when ready. systemd runs it on a separate host (`manager`), so it imports none of
our modules.
"""

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Receiver(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Accept and log it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        with Path(sys.argv[2]).open("a") as received:
            print(self.path, file=received)
        self._answer()

    def do_GET(self) -> None:
        """Answer a health check."""
        self._answer()

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main(port: int) -> None:
    """Serve until a signal ends it."""
    Path(sys.argv[2]).touch()
    with ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
