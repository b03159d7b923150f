"""Gets a snapshot from outside: from a sidecar that answers, or from its store.

Owns the client of /metrics and /history, and the mapping from Prometheus' names back to the store's.
"""

import http.client
import json
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import closing

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from observability.arrivals.spool import Spool
from observability.errors import UnusableError, describe
from observability.options.kinds import TLS
from observability.prometheus.collector import PREFIX
from observability.settings import Settings
from observability.status import overview
from observability.status.snapshot import Snapshot
from observability.store import families, reading
from observability.store.families import Series

_TIMEOUT = 5.0
_EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  how to reach a server that listens on all addresses
_COUNTERS = {PREFIX + family.name: family for family in families.COUNTERS}


def url(settings: Settings) -> str:
    """Return the sidecar's URL."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.tls else 'http'}://{host}:{settings.port}"


def look(settings: Settings) -> Snapshot:
    """Return the snapshot; UnusableError if no sidecar answers and its store cannot be read."""
    try:
        return _of_sidecar(settings)
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        reason = describe(error)
    try:
        return _of_store(settings)
    except UnusableError as error:
        raise UnusableError(f"no sidecar answers at {url(settings)} ({reason}), and {error}") from None


def _of_sidecar(settings: Settings) -> Snapshot:
    snapshot = _of_metrics(_ask(settings, "/metrics").decode())
    try:
        history = json.loads(_ask(settings, "/history"))
    except http.client.HTTPException:  # an older version without /history
        return snapshot
    return overview.of_json(history, snapshot)


def _ask(settings: Settings, path: str) -> bytes:
    with closing(_connection(settings)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"{path} is answered with {answer.status}")
        return answer.read()


def _connection(settings: Settings) -> http.client.HTTPConnection:
    host = _EVERY.get(settings.host, settings.host)
    if settings.tls:
        return http.client.HTTPSConnection(
            host, settings.port, timeout=_TIMEOUT, context=_context(settings.tls)
        )
    return http.client.HTTPConnection(host, settings.port, timeout=_TIMEOUT)


def _context(tls: TLS) -> ssl.SSLContext:
    """Trust exactly the sidecar's certificate, whatever its name; present it if asked for one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(tls.certificate)
    if tls.client_ca:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def _of_metrics(text: str) -> Snapshot:
    found = {family.name: family for family in text_string_to_metric_families(text)}
    build = found[f"{PREFIX}{families.BUILD.name}"].samples[0]  # KeyError: some other server
    active, limit = (_gauge(found, family.name) for family in (families.ACTIVE, families.SESSIONS_LIMIT))
    return Snapshot(
        now=time.time(),
        version=build.labels["version"],
        values=dict(_values(found.values())),
        minutes=(),
        last_event=_gauge(found, families.LAST_EVENT.name) or 0.0,
        active=None if active is None else int(active),
        limit=None if limit is None else int(limit),
        spool_bytes=int(_gauge(found, families.SPOOL_BYTES.name) or 0),
    )


def _gauge(found: Mapping[str, Metric], name: str) -> float | None:
    family = found.get(PREFIX + name)
    return family.samples[0].value if family and family.samples else None


def _values(found: Iterable[Metric]) -> Iterable[tuple[Series, float]]:
    for metric in found:
        if family := _COUNTERS.get(metric.name):
            for sample in metric.samples:
                yield (family.name, *(sample.labels[label] for label in family.labels)), sample.value


def _of_store(settings: Settings) -> Snapshot:
    held = reading.read(settings.state)
    return Snapshot(
        now=time.time(),
        version="",
        values=held.values,
        minutes=held.minutes,
        last_event=held.last_event,
        born=held.born,
        spool_bytes=_waiting(settings),
        is_live=False,
    )


def _waiting(settings: Settings) -> int:
    with closing(Spool(settings.spool, time.monotonic)) as spool:
        return spool.waiting_bytes()
