"""From a login to its trace: the real popup, its subprogram, the sidecar, and OTLP as it is sent."""

import json
import os
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from qmail_popup import VERSION
from tests.support.collector import Collector, Received
from tests.support.popup import ACCEPTS, LOGIN, REFUSES, Popup, shell
from tests.support.sidecar import RunningSidecar
from tests.support.waiting import eventually

QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
CLIENT = {
    "TCPREMOTEIP": "192.0.2.7",
    "TCPREMOTEHOST": "client.example.org",
    "TCPREMOTEPORT": "40000",
    "TCPLOCALIP": "192.0.2.1",
    "TCPLOCALPORT": "110",
}
CONSTANT = {
    "client.address": "192.0.2.7",
    "client.port": 40000,
    "server.address": "192.0.2.1",
    "server.port": 110,
    "network.protocol.name": "pop3",
    "network.transport": "tcp",
    "network.type": "ipv4",
    "qmail_popup.protocol": "POP3",
}
CHECKER = """
    import os
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": os.environ["TRACEPARENT"]})
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    with provider.get_tracer("checker").start_as_current_span("look the password up", parent):
        pass
    provider.shutdown()
"""


class Story(NamedTuple):
    """One session, as others than its trace tell it."""

    pid: int
    record: bytes
    begun: int  # nanoseconds since 1970, as are those below
    ended: int


class Stage:
    """A collector, and a sidecar that sends to it what popups tell."""

    def __init__(self, directory: Path, collector: Collector) -> None:
        self.collector = collector
        self.sidecar = RunningSidecar(
            directory, "--otlp", collector.url, "--user-names", "plain", "--json-log", environ=QUICK
        )

    def session(
        self, subprogram: tuple[str, ...], said: bytes = LOGIN, environ: dict[str, str] | None = None
    ) -> Story:
        """Have one session from its greeting to its end."""
        mirrored = {
            "PATH": os.environ["PATH"],
            "QMAIL_POPUP_SIDECAR": str(self.sidecar.socket),
            "QMAIL_POPUP_SPOOL": str(self.sidecar.spool),
            **CLIENT,
            **(environ or {}),
        }
        begun = time.time_ns()
        with Popup([sys.executable, "-m", "qmail_popup"], subprogram, env=mirrored) as popup:
            popup.talk(said)
            popup.status()
            return Story(popup.process.pid, b"".join(popup.records()), begun, time.time_ns())

    def trace(self, story: Story, number: int) -> dict[str, Received]:
        """Return the spans of one session by name, once so many have arrived."""
        found: list[Received] = []

        def there() -> bool:
            received = self.collector.spans()
            sessions = [one for one in received if one.attributes.get("process.pid") == story.pid]
            found[:] = [
                one for one in received if sessions and one.span.trace_id == sessions[0].span.trace_id
            ]
            return len(found) >= number

        assert eventually(there)
        assert number == len(found)
        return {one.span.name: one for one in found}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Return a stage for all sessions of this module."""
    with Collector() as collector:
        running = Stage(tmp_path_factory.mktemp("stage"), collector)
        with running.sidecar:
            yield running


@pytest.mark.parametrize(
    ("subprogram", "ended", "result", "reason"),
    [
        (ACCEPTS, "accepted", "accepted", ""),
        (REFUSES, "rejected", "rejected", "credentials"),
        (shell("exit 2"), "rejected", "rejected", "misuse"),
        (shell("exit 111"), "rejected", "rejected", "temporary"),
        (("/does/not/exist",), "rejected", "rejected", "temporary"),
        (shell("kill -SEGV $$"), "crashed", "rejected", "crashed"),
    ],
    ids=["accepted", "refused", "misuse", "temporary", "missing", "crashed"],
)
def test_a_login_is_a_trace(
    stage: Stage, subprogram: tuple[str, ...], ended: str, result: str, reason: str
) -> None:
    """Every attribute, time, status and parent is what the record and the session's surroundings say."""
    story = stage.session(subprogram)
    trace = stage.trace(story, 2)
    session, subspan = trace["POP3 session"], trace["subprogram"]
    told = {
        **CONSTANT,
        "process.pid": story.pid,
        "qmail_popup.auth.result": result,
        "qmail_popup.auth.method": "User",
        "qmail_popup.ended": ended,
        "user.name": "bob",
    }
    error = reason if reason in ("temporary", "misuse", "crashed") else ""
    failed = {"error.type": error} if error else {}
    refused = {"qmail_popup.auth.reason": reason} if reason else {}
    assert told | refused | failed == session.attributes
    assert failed == subspan.attributes
    assert f"pid {story.pid} {result.title()[:6]}::AUTH::User P:POP3 S:192.0.2.7:".encode() in story.record
    assert story.record.endswith(b" ?~ 'bob'\n")
    status = Status.STATUS_CODE_ERROR if error else Status.STATUS_CODE_UNSET
    assert {status} == {one.span.status.code for one in trace.values()}


def test_the_times_are_those_of_the_session(stage: Stage) -> None:
    """Greeting, credentials, subprogram and end, in their order and between what a bystander's clock says."""
    story = stage.session(shell("sleep 0.2"))
    trace = stage.trace(story, 2)
    session, subspan = trace["POP3 session"].span, trace["subprogram"].span
    greeted, credentials = session.events
    assert ["greeted", "credentials"] == [event.name for event in session.events]
    times = [
        story.begun,
        session.start_time_unix_nano,
        greeted.time_unix_nano,
        credentials.time_unix_nano,
        subspan.start_time_unix_nano,
        subspan.end_time_unix_nano,
        session.end_time_unix_nano,
        story.ended,
    ]
    assert sorted(times) == times
    assert subspan.end_time_unix_nano - subspan.start_time_unix_nano >= 200_000_000
    kinds = (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL)
    assert kinds == (session.kind, subspan.kind)


def test_the_subprogram_saw_its_span(stage: Stage, tmp_path: Path) -> None:
    """What TRACEPARENT said is the span that was sent, and nothing that the popup had inherited."""
    story = stage.session(
        shell(f"env >{tmp_path}/environ"), environ={"TRACEPARENT": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
    )
    trace = stage.trace(story, 2)
    session, subspan = trace["POP3 session"].span, trace["subprogram"].span
    expected = f"TRACEPARENT=00-{subspan.trace_id.hex()}-{subspan.span_id.hex()}-01"
    assert expected in (tmp_path / "environ").read_text().splitlines()
    assert (b"", session.span_id) == (session.parent_span_id, subspan.parent_span_id)
    assert session.trace_id[8:] == session.span_id


def test_a_subprogram_that_speaks_opentelemetry_joins_the_trace(stage: Stage) -> None:
    """The collector receives one tree: session, subprogram, and below it what the subprogram sent itself."""
    script = (sys.executable, "-c", textwrap.dedent(CHECKER))
    story = stage.session(script, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": stage.collector.url})
    trace = stage.trace(story, 3)
    parents = {name: received.span.parent_span_id for name, received in trace.items()}
    assert parents == {
        "POP3 session": b"",
        "subprogram": trace["POP3 session"].span.span_id,
        "look the password up": trace["subprogram"].span.span_id,
    }


@pytest.mark.parametrize(
    ("said", "ended"), [(b"QUIT\r\n", "quit"), (b"USER bob\r\n", "disconnected")], ids=["quit", "gone"]
)
def test_a_session_without_a_login(stage: Stage, said: bytes, ended: str) -> None:
    """One span, which tells of no login."""
    story = stage.session(ACCEPTS, said)
    (session,) = stage.trace(story, 1).values()
    assert CONSTANT | {"process.pid": story.pid, "qmail_popup.ended": ended} == session.attributes
    assert (b"", ["greeted"]) == (story.record, [event.name for event in session.span.events])


def test_refused_before_tls(stage: Stage) -> None:
    """The word unknown in the record is no user."""
    story = stage.session(ACCEPTS, b"USER bob\r\n", {"UCSPITLS": "!"})
    (session,) = stage.trace(story, 1).values()
    login = {
        "qmail_popup.auth.result": "rejected",
        "qmail_popup.auth.method": "Any",
        "qmail_popup.auth.reason": "tls_required",
    }
    rest = {"process.pid": story.pid, "qmail_popup.ended": "tls_required"}
    assert CONSTANT | login | rest == session.attributes
    assert Status.STATUS_CODE_UNSET == session.span.status.code


def test_the_log_leads_to_the_trace(stage: Stage) -> None:
    """Its line names the session's span."""
    session = stage.trace(stage.session(ACCEPTS), 2)["POP3 session"].span
    expected = {"trace_id": session.trace_id.hex(), "span_id": session.span_id.hex(), "user.name": "bob"}

    def logged() -> list[dict[str, object]]:
        lines = map(json.loads, stage.sidecar.log.read_text().splitlines())
        return [{name: line[name] for name in expected if name in line} for line in lines]

    assert eventually(lambda: expected in logged())


def test_who_sends(stage: Stage) -> None:
    """The product, its version, and this host."""
    received = stage.trace(stage.session(ACCEPTS), 2)["POP3 session"]
    resource = received.resource
    assert ("qmail-popup", VERSION) == (resource["service.name"], resource["service.version"])
    assert {os.uname().nodename} == {resource["host.name"], resource["service.instance.id"]}
    assert ("qmail-popup", VERSION) == received.scope
