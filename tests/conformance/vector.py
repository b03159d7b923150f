"""What a vector says, and how the file `vectors.jsonl` is read.

Bytes are latin-1 strings. In what is expected `{pid}`, `{time}` and `{stamp}` stand for the popup's pid, a
decimal time and the whole APOP timestamp; wherever they stand in one session they must agree.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HOST = "pop.example.org"
ANSWER = "SSL_PROTOCOL=TLSv1.3\0SSL_CIPHER=TLS_AES_256_GCM_SHA384\0\0"


@dataclass(frozen=True, kw_only=True)
class Vector:
    """One session; `session.py` says what the steps are, `probe` what `do` may be."""

    name: str
    steps: Sequence[Sequence[str]]
    out: str | None
    """All that the client receives, in order; None where that is not checked."""
    fd3: str | None = None
    """What the subprogram reads on descriptor 3; None where it must not run."""
    log: Sequence[str] = ()
    """Lines of descriptor 5, each of which must come in one write."""
    errors: str = ""
    """All that descriptor 2 gets."""
    exit: int | None = None
    """Exit status, or a signal as a negative number; None where that is not checked."""
    env: Mapping[str, str | None] = field(default_factory=dict)
    """Environment beside PATH; None takes a variable away."""
    do: str = "exit:0"
    argv: Sequence[str] | None = None
    """Arguments in place of `hostname probe next`; `/probe` stands for the whole path of the probe."""
    path: bool = False
    """The directory of `probe` is in PATH."""
    tls: bool = False
    """The three descriptors of UCSPI-TLS are open and named."""
    tls_fds: Sequence[int] = (10, 11, 12)
    """Numbers of SSLCTLFD, SSLREADFD and SSLWRITEFD; where the last two are equal, one socket serves both."""
    answer: str = ANSWER
    """What the server says on the control socket once TLS is on."""
    behind_stls: str | None = None
    """What the popup must have left unread, on the bare network, for the TLS handshake."""
    rest: str | None = None
    """With do=stdin: what the popup must have left unread for the subprogram."""
    packets: bool = False
    """The network is two pipes, and each write of the popup must be a whole reply."""
    nonblocking: bool = False
    """The network does not block."""
    ignore: Sequence[str] = ()
    """Signals that are ignored when the popup starts."""
    closed: Sequence[int] = ()
    """Descriptors that the subprogram must not have open."""
    no_fd5: bool = False
    full_fd5: bool = False
    """Descriptor 5 is a pipe that nobody empties."""
    sub_env: Mapping[str, str | None] = field(default_factory=dict)
    """Environment of the subprogram as it was started; None where a name must not be set."""
    sub_argv: Sequence[str] | None = None
    """Arguments of the subprogram."""
    differs: str = ""
    """Where this differs from the C program on purpose, and why."""


def read(path: Path) -> Iterator[Vector]:
    """Yield the vectors of a file with one JSON object a line."""
    with path.open(encoding="ascii") as lines:
        for line in lines:
            yield Vector(**json.loads(line))
