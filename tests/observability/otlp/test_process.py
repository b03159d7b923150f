"""The sidecar with its exporter: whatever a collector does, nothing but spans suffers."""

import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from observability.event import build
from tests.support import authority
from tests.support.collector import Collector, await_exporter
from tests.support.keeper import Keeper
from tests.support.processes import children, is_gone
from tests.support.sidecar import REJECTED, RunningSidecar, connect, deliver, fields, hello_of, refused
from tests.support.waiting import eventually

QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return one in good health."""
    with Collector() as running:
        yield running


@pytest.mark.parametrize("environ", [{}, {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9"}])
def test_it_is_off_unless_it_is_asked_for(tmp_path: Path, environ: dict[str, str]) -> None:
    """No process is started, and nothing of OpenTelemetry is loaded (protobuf's library would show)."""
    with RunningSidecar(tmp_path, environ=environ) as sidecar:
        assert [] == children(sidecar.process.pid)
        assert "_upb" not in Path(f"/proc/{sidecar.process.pid}/maps").read_text()


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    ],
)
def test_it_can_be_switched_off_by_the_environment(tmp_path: Path, environ: dict[str, str]) -> None:
    """As any program that uses OpenTelemetry."""
    with RunningSidecar(tmp_path, environ=environ) as sidecar:
        assert [] == children(sidecar.process.pid)


@pytest.mark.parametrize("environ", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_METRICS_EXPORTER": "none"}])
def test_counters_can_be_switched_off_by_the_environment(tmp_path: Path, environ: dict[str, str]) -> None:
    """Whatever the option says; as it is with spans."""
    with RunningSidecar(tmp_path, "--otlp-metrics", environ=environ) as sidecar:
        assert [] == children(sidecar.process.pid)


def test_the_environment_alone_switches_it_on(tmp_path: Path, collector: Collector) -> None:
    """Without an option, with nothing of OpenTelemetry in the sidecar itself."""
    endpoint = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces"}
    with RunningSidecar(tmp_path, environ={**QUICK, **endpoint}) as sidecar:
        assert deliver(sidecar.socket, build(fields()))
        assert eventually(lambda: len(collector.spans()) == 2)
        assert "_upb" not in Path(f"/proc/{sidecar.process.pid}/maps").read_text()


@pytest.mark.parametrize("temper", ["down", "mute", "400", "429", "503"])
def test_no_collector_keeps_the_sidecar(tmp_path: Path, collector: Collector, temper: str) -> None:
    """All is counted, the end comes in time, and every span that did not arrive is counted as dropped."""
    url = collector.url
    if temper.isdigit():
        collector.status = int(temper)
    elif temper == "mute":
        collector.gate.clear()
    else:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    with RunningSidecar(tmp_path, "--otlp", url, environ=QUICK) as sidecar:
        for _ in range(100):
            assert deliver(sidecar.socket, build(fields()))
        assert 100 == sidecar.value("sessions_total", ended="accepted", protocol="POP3")
        (exporter,) = children(sidecar.process.pid)
        assert 0 == sidecar.stop()
        assert is_gone(exporter)
    with RunningSidecar(tmp_path) as again:
        assert 200 == again.value("telemetry_spans_dropped_total")


def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the system's authorities, or those that SSL_CERT_FILE names, as for a gateway."""
    monkeypatch.delenv(
        "REQUESTS_CA_BUNDLE", raising=False
    )  # which goes before that, where somebody has set it
    made = authority.make(tmp_path)
    with Collector(made) as collector:
        with RunningSidecar(tmp_path, "--otlp", collector.url, environ=QUICK) as sidecar:
            await_exporter(sidecar.process.pid)
            assert deliver(sidecar.socket, build(fields()))
            assert 0 == sidecar.stop()
        assert [] == collector.spans()
        told = {**QUICK, "SSL_CERT_FILE": str(made.ca)}
        with RunningSidecar(tmp_path, "--otlp", collector.url, environ=told) as sidecar:
            await_exporter(sidecar.process.pid)
            assert deliver(sidecar.socket, build(fields()))
            assert eventually(lambda: len(collector.spans()) == 2)


def test_drops_survive_a_kill(tmp_path: Path, collector: Collector) -> None:
    """They are totals as the others are."""
    collector.status = 400
    for expected in (2, 4):
        with RunningSidecar(tmp_path, "--otlp", collector.url, environ=QUICK) as sidecar:
            assert deliver(sidecar.socket, build(fields()))
            assert sidecar.reaches(expected, "telemetry_spans_dropped_total")
            sidecar.kill()


def test_the_exporter_ends_with_a_sidecar_that_is_killed(tmp_path: Path) -> None:
    """And sends what it has, long before it would have; on a busy machine it may give up before that."""
    assert eventually(lambda: _spans_after_a_kill(tmp_path) in (2, 4))


def _spans_after_a_kill(directory: Path) -> int:
    """Kill a sidecar whose exporter would send after a minute; return the spans that come at its end."""
    place, environ = Path(mkdtemp(dir=directory)), {"OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with (
        Collector() as collector,
        RunningSidecar(place, "--otlp", collector.url, environ=environ) as sidecar,
    ):
        await_exporter(sidecar.process.pid)
        for _ in range(2):  # when the second is acknowledged, the exporter has the first
            assert deliver(sidecar.socket, build(fields()))
        (exporter,) = children(sidecar.process.pid)
        assert [] == collector.spans()
        sidecar.kill()
        assert eventually(lambda: is_gone(exporter))
        return len(collector.spans())


def test_a_part_of_the_accepted_and_all_others(tmp_path: Path, collector: Collector) -> None:
    """As --sample-accepted says; what is left out is no drop."""
    options = ("--otlp", collector.url, "--sample-accepted", "0.5")
    low, high, high_refused = b"1" * 16 + b"7" * 16, b"2" * 16 + b"9" * 16, b"3" * 16 + b"9" * 16
    with RunningSidecar(tmp_path, *options) as sidecar:
        await_exporter(sidecar.process.pid)
        for trace, changes in ((low, {}), (high, {}), (high_refused, REJECTED)):
            assert deliver(sidecar.socket, build(fields({**changes, "TRACE": trace})))
        assert eventually(lambda: len(collector.spans()) == 4)
        assert 0 == sidecar.value("telemetry_spans_dropped_total")
        assert 0 == sidecar.stop()
    kept = [low, low, high_refused, high_refused]
    assert kept == [received.span.trace_id.hex().encode() for received in collector.spans()]


def test_a_killed_session_has_no_span_until_its_event_comes(tmp_path: Path, collector: Collector) -> None:
    """Nobody knows when it ended; a duplicate of an event has no second one."""
    told = fields()
    with RunningSidecar(tmp_path, "--otlp", collector.url, environ=QUICK) as sidecar:
        await_exporter(sidecar.process.pid)
        connect(sidecar.socket, hello_of(told)).close()
        assert sidecar.reaches(1, "sessions_total", ended="killed", protocol="POP3")
        for _ in range(2):
            assert deliver(sidecar.socket, build(told))
        assert eventually(lambda: len(collector.spans()) == 2)
        assert 0 == sidecar.stop()
    assert ["POP3 session", "subprogram"] == [received.span.name for received in collector.spans()]


@pytest.mark.parametrize(
    "options",
    [
        ("--otlp", "collector:4318"),
        ("--otlp", "http://"),
        ("--otlp", "http://[::1:4318"),
        ("--otlp", "http://joe:s3cret@collector:4318"),
        ("--sample-accepted", "1.1"),
        ("--sample-accepted", "nan"),
        ("--sample-accepted", "most"),
    ],
)
def test_a_bad_option_is_one_clear_line(tmp_path: Path, options: tuple[str, str]) -> None:
    """Status 2, the option is named, and no password is repeated."""
    ended = refused(tmp_path, *options)
    assert (2, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert options[0] in ended.stderr
    assert "s3cret" not in ended.stderr


def test_a_bad_endpoint_in_the_environment_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, and not repeated."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://joe:s3cret@collector:4318")
    ended = refused(tmp_path)
    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in ended.stderr
    assert "s3cret" not in ended.stderr


def test_the_installed_sidecar_has_all_that_it_takes(
    tmp_path: Path, installed: Path, collector: Collector
) -> None:
    """From its own directory, with nothing of the checkout."""
    program = [str(installed / "bin/qmail-popup-sidecar")]
    with Keeper(tmp_path, program, cwd=Path("/")) as keeper:
        keeper.start("--otlp", collector.url)
        await_exporter(keeper.process.pid)
        assert deliver(keeper.socket, build(fields()))
        assert eventually(lambda: len(collector.spans()) == 2)
        assert 0 == keeper.stop()
    assert 2 == len(collector.spans())
