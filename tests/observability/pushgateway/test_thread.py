"""The thread that pushes at every interval."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from observability.event import build
from observability.log.reports import Report
from observability.options.kinds import gateway as gateway_of
from observability.pushgateway.group import Group
from observability.pushgateway.push import Pushing
from observability.pushgateway.thread import PushThread
from observability.store.families import PUSHED
from tests.support.collector import Collector, await_exporter
from tests.support.gateway import Pushgateway
from tests.support.peer import OK, Peer
from tests.support.scraper import read
from tests.support.sidecar import RunningSidecar, deliver, fields
from tests.support.unattended import INSTANCE, attempts, total
from tests.support.waiting import eventually, until

OFTEN = "--push-interval=0.2"


def _options(gateway: Pushgateway) -> tuple[str, str]:
    return f"--push={gateway.url}", f"--instance={INSTANCE}"


def test_it_pushes_also_when_nothing_happens(tmp_path: Path) -> None:
    """The gateway's own time of the last push moves on, and each push is counted."""
    with Pushgateway(tmp_path) as gateway, RunningSidecar(tmp_path, OFTEN, *_options(gateway)) as sidecar:
        until(lambda: bool(gateway.families(INSTANCE)))
        pushed = _push_time(gateway)
        until(lambda: _push_time(gateway) > pushed)
        assert eventually(lambda: sidecar.value("telemetry_pushes_total", result="ok") > 2)
        assert 0 == sidecar.value("telemetry_pushes_total", result="failed")
        assert "qmail_popup_sessions_active" in gateway.families(INSTANCE)


def _push_time(gateway: Pushgateway) -> float:
    return sum(value for (name, _), value in gateway.numbers().items() if name == "push_time_seconds")


def test_it_pushes_once_more_at_the_end(tmp_path: Path) -> None:
    """What came since the last push is pushed before the sidecar ends."""
    with Pushgateway(tmp_path) as gateway, RunningSidecar(tmp_path, *_options(gateway)) as sidecar:
        until(lambda: bool(gateway.families(INSTANCE)))
        assert b"" != deliver(sidecar.socket, build(fields()))
        assert 0 == sidecar.stop()
        assert 1 == attempts(gateway)


def test_a_stopped_gateway_stops_nothing_else(tmp_path: Path) -> None:
    """While a push has no answer events are counted and shown, and the sidecar can end."""
    with Pushgateway(tmp_path) as gateway, RunningSidecar(tmp_path, OFTEN, *_options(gateway)) as sidecar:
        until(lambda: bool(gateway.families(INSTANCE)))
        gateway.hold()
        time.sleep(0.5)
        for _ in range(3):
            assert b"" != deliver(sidecar.socket, build(fields()))
        assert 3 == total(read(sidecar.url), "auth_attempts_total")
        assert 0 == sidecar.stop()


def test_a_gateway_that_is_down_is_told_once_and_counted(tmp_path: Path) -> None:
    """Each failure counts, the reason is said once, and the first push afterwards has everything."""
    gateway = Pushgateway(tmp_path)
    with gateway:
        pass
    with RunningSidecar(tmp_path, OFTEN, *_options(gateway)) as sidecar:
        assert b"" != deliver(sidecar.socket, build(fields()))
        assert eventually(lambda: sidecar.value("telemetry_pushes_total", result="failed") > 2)
        assert 1 == sidecar.said.count(f"cannot reach {gateway.url}")
        with gateway:
            until(lambda: attempts(gateway) == 1)


class Broken:
    """A push that raises what nobody thought of, now and then."""

    def __init__(self) -> None:
        self.texts: Iterator[bytes | BaseException] = iter([b"", KeyError("a fault"), MemoryError(), b""])
        self.made = 0

    def __call__(self) -> bytes:
        """Make a text, or fail."""
        self.made += 1
        text = next(self.texts, b"")
        if isinstance(text, BaseException):
            raise text
        return text


def test_nothing_that_goes_wrong_ends_the_pushes() -> None:
    """Each push that fails is reported with its reason, whatever that was, and the next one goes out."""
    reports: list[Report] = []
    with Peer() as peer:
        peer.answer(*[OK] * 5)
        pushing = Pushing(Group(gateway_of(peer.url), "mx", None), Broken(), time.monotonic)
        with closing(PushThread(pushing, 0.01, reports.append, time.monotonic)):
            assert eventually(lambda: len(reports) >= 4)
    errors = ["", "cannot push: 'a fault'", "cannot push: MemoryError", ""]
    assert errors == [report.error for report in reports[:4]]
    results = [PUSHED[not error] for error in errors]
    assert [{result: 1} for result in results] == [report.increments for report in reports[:4]]


def test_the_last_push_tells_what_became_of_the_last_spans(tmp_path: Path) -> None:
    """They are flushed before it, not behind it."""
    environ = {"OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with Pushgateway(tmp_path) as gateway, Collector() as collector:
        collector.status = 400
        options = (*_options(gateway), "--otlp", collector.url)
        with RunningSidecar(tmp_path, *options, environ=environ) as sidecar:
            await_exporter(sidecar.process.pid)
            assert b"" != deliver(sidecar.socket, build(fields()))
            assert 0 == sidecar.stop()
        assert 2 == total(gateway.numbers(), "telemetry_spans_dropped_total")
