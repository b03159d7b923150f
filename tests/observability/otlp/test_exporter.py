"""The exporter's process and the counts of what it was given, against collectors of all tempers."""

import errno
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from typing import Self

import pytest

from observability.arrivals.parsing import Event, parse
from observability.event import build
from observability.otlp.exporter import MAX_IN_HAND, Exporter, Parts, signal_endpoint
from observability.otlp.frames import Setup, Values
from observability.otlp.sampling import sampler
from observability.privacy import Privacy
from tests.support.collector import Collector, await_exporter
from tests.support.sidecar import REJECTED, fields
from tests.support.waiting import TIMEOUT, eventually

BORN = 1_600_000_000_000_000_000
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
SMALL = {"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "20"}


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the exporter, which inherits our environment, wait for less than it would."""
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return one in good health."""
    with Collector() as running:
        yield running


def events(number: int, changes: Mapping[str, bytes | None] | None = None) -> list[Event]:
    """Return so many sessions, each with two spans."""
    found = [parse(build(fields(changes or {}))[:-2]) for _ in range(number)]
    return [event for event in found if isinstance(event, Event)]


class Trial:
    """An exporter, what it counted as dropped, and what it logged."""

    def __init__(
        self, endpoint: str | None, *, metrics: bool = False, accepted: float = 1.0, most: int = MAX_IN_HAND
    ) -> None:
        self.dropped, self.now = 0, 0.0
        self.values: Values = {}
        self.logged: list[str] = []
        self.store_fails = False
        setup = Setup(
            endpoint,
            metrics,
            Privacy("off", "off", b""),
            "here",
            "1.2.3",
            BORN,
            json=False,
            refusal_seconds=10.0,
        )
        parts = Parts(sampler(accepted), self.count, lambda: self.values, self.log, lambda: self.now, most)
        self.exporter = Exporter(setup, parts)
        await_exporter(os.getpid())

    def count(self, dropped: int) -> None:
        """Do what the store does, or fail as it does."""
        if self.store_fails:
            raise sqlite3.OperationalError
        assert dropped > 0
        self.dropped += dropped

    def log(self, _level: str, text: str) -> None:
        """Note a message."""
        self.logged.append(text)

    def drops(self, expected: int) -> bool:
        """Whether so many are counted, given time, and not more."""

        def looked() -> bool:
            self.exporter.tick()
            return self.dropped >= expected

        return eventually(looked) and expected == self.dropped

    def has_ended(self) -> bool:
        """Whether the exporter's end was noticed."""
        self.exporter.tick()
        return bool(self.logged)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        started = time.monotonic()
        self.exporter.close()
        assert time.monotonic() - started < TIMEOUT


def arrives(collector: Collector, number: int) -> bool:
    """Whether so many spans get there, given time, and not more."""
    return eventually(lambda: len(collector.spans()) >= number) and number == len(collector.spans())


def child() -> int:
    """Return the process number of the exporter: what ran before may have left other children."""
    children = Path("/proc/thread-self/children").read_text().split()
    (pid,) = (pid for pid in children if b"otlp.process" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return int(pid)


def test_everything_arrives_and_nothing_is_dropped(collector: Collector) -> None:
    """Session and subprogram of each event, and who sent them."""
    sessions = events(50)
    with Trial(collector.url) as trial:
        trial.exporter(sessions)
        assert arrives(collector, 100)
        assert trial.drops(0)
    got = {(span.span.trace_id, span.span.name) for span in collector.spans()}
    assert {(event.identity, name) for event in sessions for name in ("POP3 session", "subprogram")} == got
    (sender,) = {tuple(sorted(span.resource.items())) for span in collector.spans()}
    told = {"service.name": "qmail-popup", "service.version": "1.2.3", "service.instance.id": "here"}
    assert {**told, "host.name": socket.gethostname()}.items() <= dict(sender).items()
    assert {("qmail-popup", "1.2.3")} == {span.scope for span in collector.spans()}


def test_the_environment_is_honoured(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint, headers, compression, name and attributes, as OpenTelemetry has them."""
    for name, value in {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/base/",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=mail",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_SERVICE_NAME": "pop3.example",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.instance.id=there",
    }.items():
        monkeypatch.setenv(name, value)
    with Trial(None) as trial:
        trial.exporter(events(1))
    (request,) = collector.requests
    assert "/base/v1/traces" == request.path
    assert ("mail", "gzip") == (request.headers["x-tenant"], request.headers["Content-Encoding"])
    expected = {
        "service.name": "pop3.example",
        "deployment.environment.name": "test",
        "service.instance.id": "there",
    }
    (resource,) = {tuple(sorted(span.resource.items())) for span in collector.spans("/base/v1/traces")}
    assert expected.items() <= dict(resource).items()


def test_headers_that_make_no_sense_are_told_without_what_they_hold(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are credentials, more often than not."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Bearer geheim")
    with Trial(collector.url) as trial:
        trial.exporter(events(1))
    said = capfd.readouterr().err
    assert "Header" in said
    assert "geheim" not in said


def test_a_small_queue_makes_small_batches(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK itself would refuse to work with a queue below its usual batch."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    with Trial(collector.url) as trial:
        trial.exporter(events(100))
        assert arrives(collector, 200)
    assert 0 == trial.dropped


def test_an_answer_without_an_end_takes_no_memory(collector: Collector) -> None:
    """What a collector answers is read as far as it makes sense, and its status counts."""
    collector.tail = 1 << 30
    with Trial(collector.url) as trial:
        trial.exporter(events(10))
        assert arrives(collector, 20)
        trial.exporter(events(10))
        assert arrives(collector, 40)
        before = resident(child())
        for _ in range(20):
            trial.exporter(events(10))
        assert arrives(collector, 440)
        assert resident(child()) - before < 20_000
    assert 0 == trial.dropped


def resident(pid: int) -> int:
    """Return how many kilobytes of memory a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_what_waits_is_flushed_at_the_end(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before the SDK would have sent it."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    with Trial(collector.url) as trial:
        trial.exporter(events(20))
    assert (40, 0) == (len(collector.spans()), trial.dropped)


def test_sessions_that_are_not_kept_are_not_sent(collector: Collector) -> None:
    """And that is no drop: somebody wanted it."""
    with Trial(collector.url, accepted=0.0) as trial:
        trial.exporter([*events(20), *events(3, REJECTED)])
        assert arrives(collector, 6)
    assert (6, 0) == (len(collector.spans()), trial.dropped)


@pytest.mark.parametrize("status", [302, 400, 429, 503])
def test_what_a_collector_refuses_is_counted(
    status: int, collector: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whether the SDK tries again or not; and each of its messages is logged once, in one line."""
    collector.status = status
    with Trial(collector.url) as trial:
        for _ in range(3):
            trial.exporter(events(2))
            time.sleep(0.1)
        assert trial.drops(12)
    said = [line for line in capfd.readouterr().err.splitlines() if "Failed" in line]
    assert bool(said) == (status != 302)
    assert len(set(said)) == len(said)
    assert all(line.startswith("qmail-popup-sidecar: OpenTelemetry: ") for line in said)


def test_a_batch_larger_than_the_usual_queue_that_is_refused_is_counted_in_whole(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirection refuses every span of it, however many there are."""
    collector.status = 302
    for name in ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"):
        monkeypatch.setenv(name, "6000")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with Trial(collector.url) as trial:
        for _ in range(3):
            trial.exporter(events(1) * 1000)
        assert trial.drops(6000)


def test_what_a_collector_takes_in_part_is_counted(collector: Collector) -> None:
    """An answer of 200 may refuse spans as well."""
    collector.refuses = 3
    with Trial(collector.url) as trial:
        trial.exporter(events(4))
        assert trial.drops(3)


def test_no_collector(capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody listens there: dropped, and told of."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    with Trial(url) as trial:
        trial.exporter(events(5))
        assert trial.drops(10)
    assert "Failed to export" in capfd.readouterr().err


def test_a_collector_that_never_answers(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has in hand is bounded, the rest is dropped, and in the end every span is accounted for."""
    for name, value in {**SMALL, "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}.items():
        monkeypatch.setenv(name, value)
    collector.gate.clear()
    with Trial(collector.url, most=200) as trial:
        for _ in range(100):
            trial.exporter(events(10))
        assert trial.drops(2000 - 200)
        collector.gate.set()
        assert arrives(collector, 200)
        assert trial.drops(1800)
        trial.exporter(events(10))
        assert arrives(collector, 220)
    assert 1800 == trial.dropped


@pytest.mark.parametrize("number", [20, 200], ids=["all in its queue", "some on the way"])
def test_an_end_while_the_queue_is_full(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It comes in time, and what had not arrived counts as dropped."""
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    collector.gate.clear()
    with Trial(collector.url) as trial:
        trial.exporter(events(number))
        assert eventually(lambda: bool(collector.waiting))
    assert 2 * number == trial.dropped


def test_an_exporter_that_dies(collector: Collector) -> None:
    """What it had in hand is counted, so is what comes meanwhile, and another one starts a while later."""
    collector.gate.clear()
    with Trial(collector.url) as trial:
        trial.exporter(events(1))
        assert eventually(lambda: bool(collector.waiting))
        trial.exporter(events(5))
        os.kill(child(), signal.SIGKILL)
        assert trial.drops(12)
        trial.exporter(events(2))
        assert trial.drops(16)
        assert ["the span exporter exited unexpectedly"] == trial.logged
        collector.gate.set()
        trial.now += 60
        trial.exporter.tick()
        await_exporter(os.getpid())
        last = events(3)
        trial.exporter(last)
    assert 16 == trial.dropped
    assert {event.identity for event in last} <= {span.span.trace_id for span in collector.spans()}


def test_an_exporter_that_cannot_be_started(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time it is told why, and nothing is left behind; once it can be, it exports again."""
    with Trial(collector.url) as trial:
        os.kill(child(), signal.SIGKILL)
        assert eventually(trial.has_ended)
        before = _left()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", _no_thread)  # a limit that root does not have
            for _ in range(2):
                trial.now += 60
                trial.exporter.tick()
        with _no_descriptors():
            trial.now += 60
            trial.exporter.tick()
        why = ["can't start new thread"] * 2 + [os.strerror(errno.EMFILE)]
        assert [f"cannot start the span exporter: {each}" for each in why] == trial.logged[1:]
        assert before == _left()
        trial.now += 60
        trial.exporter.tick()
        await_exporter(os.getpid())
        trial.exporter(events(1))
        assert arrives(collector, 2)


def _no_thread(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@contextmanager
def _no_descriptors() -> Iterator[None]:
    soft, hard = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (0, hard))
    yield
    setrlimit(RLIMIT_NOFILE, (soft, hard))


def _left() -> tuple[int, str]:
    """Return the number of our descriptors, and our children."""
    return len(os.listdir("/proc/self/fd")), Path("/proc/thread-self/children").read_text()


def test_an_exporter_that_does_not_read(collector: Collector) -> None:
    """What is on the way to it is bounded, nothing waits, and all of it is counted at the end."""
    many = events(500)
    with Trial(collector.url) as trial:
        os.kill(child(), signal.SIGSTOP)  # at once: of what it has sent it may not have told yet
        for _ in range(80):
            trial.exporter(many)
        trial.exporter.tick()
        before = trial.dropped
        assert 0 < before < 80_000
    assert 80_000 == trial.dropped


def test_signals_of_a_service_manager_do_not_end_it(collector: Collector) -> None:
    """It is the sidecar that ends it, once it has handed over what it has."""
    with Trial(collector.url) as trial:
        trial.exporter(events(1))
        assert arrives(collector, 2)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(child(), number)
        trial.exporter(events(1))
        assert arrives(collector, 4)
        assert trial.drops(0)


def test_counts_wait_for_the_store(collector: Collector) -> None:
    """While it cannot be written nothing is forgotten."""
    collector.status = 400
    with Trial(collector.url) as trial:
        trial.store_fails = True
        trial.exporter(events(1))
        assert eventually(lambda: bool(collector.requests))
        trial.exporter.tick()
        trial.store_fails = False
        assert trial.drops(2)


def test_metrics_are_the_values_of_the_sidecar(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """As told last, cumulative whatever the environment prefers, and since the birth of the store."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    series = ("auth_attempts", "rejected", "User", "POP3")
    with Trial(collector.url, metrics=True) as trial:
        for value in (5, 7):
            trial.values = {series: value, ("sessions", "quit", "POP3S"): 3, ("sessions_active",): 4}
            trial.exporter.tick()
            assert eventually(lambda: bool(collector.points()) and _attempts(collector) == value)  # noqa: B023
        trial.values = {series: 8}
    assert 8 == _attempts(collector)
    first = next(points for points in collector.points() if "qmail_popup.sessions" in points)
    assert {frozenset({("ended", "quit"), ("protocol", "POP3S")}): (3, BORN)} == first["qmail_popup.sessions"]
    assert {frozenset(): (4, 0)} == first["qmail_popup.sessions.active"]
    names = {"qmail_popup.auth.attempts", "qmail_popup.sessions", "qmail_popup.sessions.active"}
    assert names == first.keys()
    assert {BORN} == {
        point.start for points in collector.points() for point in points["qmail_popup.auth.attempts"].values()
    }


def test_metrics_do_not_wait_for_spans(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both have collectors of their own, and that of the spans never answers."""
    for name, value in {
        **SMALL,
        "OTEL_METRIC_EXPORT_INTERVAL": "50",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{collector.url}/v1/metrics",
    }.items():
        monkeypatch.setenv(name, value)
    with Collector() as mute:
        mute.gate.clear()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{mute.url}/v1/traces")
        with Trial(None, metrics=True) as trial:
            trial.exporter(events(500))
            assert eventually(lambda: bool(mute.waiting))
            trial.values = {("auth_attempts", "rejected", "User", "POP3"): 5}
            trial.exporter.tick()
            assert eventually(lambda: bool(collector.points()) and _attempts(collector) == 5)


def _attempts(collector: Collector) -> float:
    labels = frozenset({("result", "rejected"), ("method", "User"), ("protocol", "POP3")})
    return collector.points()[-1]["qmail_popup.auth.attempts"][labels].value


@pytest.mark.parametrize("base", ["http://collector:4318", "http://collector:4318/"])
def test_a_base_is_not_yet_an_endpoint(base: str) -> None:
    """Each kind has its path below it."""
    assert "http://collector:4318/v1/traces" == signal_endpoint(base, "traces")
    assert signal_endpoint(None, "traces") is None
