"""What a collector answers, read as far as it can make sense, and no further.

Owns the one bound on what comes back: requests would read an answer to its end, which may never come, and
keep all of it. Only process.py's process loads this.
"""

import contextlib
from collections.abc import Callable

from requests import Response, Session
from urllib3.exceptions import HTTPError

MAX_ANSWER = 65536  # bytes; OTLP's own answers have a few dozen


def session(received: Callable[[int, bytes], None] = lambda _status, _body: None) -> Session:
    """Return a session of requests that tells `received` the status and the body of each answer."""

    def answered(answer: Response, **_: object) -> None:
        body = b""
        with contextlib.suppress(HTTPError):  # its status came, whatever became of the rest
            body = answer.raw.read(MAX_ANSWER, decode_content=True)
        if len(body) == MAX_ANSWER:
            answer.close()
        received(answer.status_code, body)

    made = Session()
    made.stream = True  # which leaves the body to us
    made.hooks["response"].append(answered)
    return made
