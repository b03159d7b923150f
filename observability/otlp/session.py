"""A requests session that limits how much of a collector's answer is read.

Without the limit, requests would read an answer to its end, which may never come, and keep it all in memory.
Only the exporter process (process.py) loads this.
"""

import contextlib
from collections.abc import Callable

from requests import Response, Session
from urllib3.exceptions import HTTPError

MAX_ANSWER = 65536  # bytes; OTLP's own answers have a few dozen


def session(received: Callable[[int, bytes], None] = lambda _status, _body: None) -> Session:
    """Return a session that passes the status and body of each answer to `received`."""

    def answered(answer: Response, **_: object) -> None:
        body = b""
        with contextlib.suppress(HTTPError):  # the status arrived, whatever happened to the rest
            body = answer.raw.read(MAX_ANSWER, decode_content=True)
        if len(body) == MAX_ANSWER:
            answer.close()
        received(answer.status_code, body)

    made = Session()
    made.stream = True  # leaves the body to us
    made.hooks["response"].append(answered)
    return made
