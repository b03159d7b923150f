"""A receiver of Alertmanager's webhooks, which keeps every notification in order of arrival."""

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.background import served


class Notice(NamedTuple):
    """One alert in one message. receiver: of the matching route; status: firing or resolved."""

    receiver: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def name(self) -> str:
        """The alert's name."""
        return self.labels["alertname"]


class Webhook:
    """Listens in a thread while the context lasts; accepts any path."""

    def __init__(self) -> None:
        """Listen on a port chosen by the kernel."""
        self.notices: list[Notice] = []
        notices = self.notices

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                notices.extend(_notices(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._served = served(server)
        self.url = f"http://127.0.0.1:{server.server_port}/"

    def states(self) -> dict[tuple[str, str], list[str]]:
        """Return the states of each alert, by name and instance: firing, resolved and so on in order.

        The instance is empty if an alert does not belong to a single host.
        """
        told: dict[tuple[str, str], list[str]] = {}
        for notice in tuple(self.notices):
            states = told.setdefault((notice.name, notice.labels.get("instance", "")), [])
            if states[-1:] != [notice.status]:  # a firing alert is sent again with the rest of its group
                states.append(notice.status)
        return told

    def __enter__(self) -> Self:
        self._served.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._served.__exit__(kind, error, trace)


def _notices(body: bytes) -> list[Notice]:
    message = json.loads(body)
    return [
        Notice(message["receiver"], alert["status"], alert["labels"], alert["annotations"])
        for alert in message["alerts"]
    ]
