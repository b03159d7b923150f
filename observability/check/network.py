"""The sidecar's network settings: --listen and its certificates, --push, --otlp.

Connects to a gateway or collector but sends nothing; binds a port for a moment but does not listen on it.
"""

import resource
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from observability.arrivals.listener import OTHER_DESCRIPTORS
from observability.check.places import is_running
from observability.check.problem import May, Problem, file, secret
from observability.errors import UnusableError, describe
from observability.options.kinds import TLS
from observability.prometheus.endpoint import server_context
from observability.pushgateway import group
from observability.settings import Settings

_TIMEOUT = 5.0
_PORTS = {"http": 80, "https": 443}
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FILES = (
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
)


def check_listen(settings: Settings, _may: May) -> Iterator[Problem]:
    """Check the address of /metrics."""
    where = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        yield Problem("--listen", where, "unknown host", "name an address of this host")
    except PermissionError:
        remedy = "choose a port from 1024 up, or give the service CAP_NET_BIND_SERVICE"
        yield Problem("--listen", where, "this user may not use that port", remedy)
    except OSError as error:
        if not (is_running(settings) and _is_served(settings)):
            remedy = "choose another port, or an address of this host (ss -ltnp shows who has a port)"
            yield Problem("--listen", where, describe(error), remedy)


def _is_served(settings: Settings) -> bool:
    try:
        socket.create_connection((settings.host, settings.port), _TIMEOUT).close()
    except OSError:
        return False
    return True


def check_tls(settings: Settings, may: May) -> Iterator[Problem]:
    """Check the certificates, and try a handshake with them in memory."""
    if not (tls := settings.tls):
        return
    found = [
        *file("--tls-cert", tls.certificate, may),
        *secret("--tls-key", tls.key, may),
        *file("--tls-client-ca", tls.client_ca, may),
    ]
    yield from found
    if not found:
        yield from _pair(tls)


def _pair(tls: TLS) -> Iterator[Problem]:
    try:
        context = server_context(tls._replace(client_ca=None))
    except UnusableError as error:
        remedy = f"both have to be PEM, and --tls-key {tls.key} the key of that certificate"
        yield Problem("--tls-cert", tls.certificate, str(error).rpartition(": ")[2], remedy)
        return
    if reason := _refused(context, tls.certificate):
        yield Problem("--tls-cert", tls.certificate, reason, "renew it, and send the sidecar SIGHUP")
    try:
        if tls.client_ca:
            server_context(tls)
    except UnusableError as error:
        remedy = "name a PEM file with the certificates of the authority"
        yield Problem("--tls-client-ca", tls.client_ca, str(error).rpartition(": ")[2], remedy)


def _refused(server: ssl.SSLContext, certificate: Path) -> str:
    """Return why a client that trusts exactly this certificate refuses it; "" if it does not."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            except ssl.SSLError as error:
                return error.reason or str(error)
    return ""


def check_push(settings: Settings, may: May) -> Iterator[Problem]:
    """Check the gateway and its credentials."""
    if not (gateway := settings.push):
        return
    found = list(secret("--push-credentials", settings.push_credentials, may))
    yield from found
    if not found:
        try:
            group.of_host(settings)
        except UnusableError as error:
            remedy = "write user:password into its first line"
            yield Problem(
                "--push-credentials", settings.push_credentials, str(error).rpartition(": ")[2], remedy
            )
    if reason := _unreachable(gateway.host, gateway.port, is_secure=gateway.is_secure):
        yield Problem(
            "--push", gateway.url, reason, "check that the gateway is running and reachable from this host"
        )


def check_otlp(settings: Settings, environ: Mapping[str, str], may: May) -> Iterator[Problem]:
    """Check the collector, and the files that OpenTelemetry's variables name."""
    if not (settings.otlp_spans or settings.otlp_metrics):
        return
    for name in _FILES:
        if environ.get(name):
            yield from file(name, Path(environ[name]), may)
    named = (
        [("--otlp", settings.otlp)] if settings.otlp else [(name, environ.get(name)) for name in _ENDPOINTS]
    )
    for option, url in named:
        if url and (reason := _unreachable_url(url)):
            yield Problem(
                option, url, reason, "check that the collector is running and reachable from this host"
            )


def _unreachable_url(url: str) -> str:
    """Return why the URL cannot be reached; OpenTelemetry verifies certificates by its own variables."""
    parts = urlsplit(url)
    return _unreachable(parts.hostname or "", parts.port or _PORTS[parts.scheme], is_secure=False)


def _unreachable(host: str, port: int, *, is_secure: bool) -> str:
    """Return why host and port cannot be reached; "" if they can."""
    try:
        with socket.create_connection((host, port), _TIMEOUT) as connection:
            if is_secure:
                ssl.create_default_context().wrap_socket(connection, server_hostname=host).close()
    except socket.gaierror:
        return "unknown host"
    except ssl.SSLCertVerificationError as error:
        return describe(error)
    except OSError as error:
        return f"cannot connect: {describe(error)}"
    return ""


def check_limits(settings: Settings, _may: May) -> Iterator[Problem]:
    """Check the limit of open files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = OTHER_DESCRIPTORS + (settings.sessions_limit or 1)
    if hard != resource.RLIM_INFINITY and hard < needed:
        remedy = f"raise it to {2 * needed} or more (ulimit -n, LimitNOFILE=)"
        subject = settings.sessions_limit or "(none)"
        yield Problem("--sessions-limit", subject, f"the limit of open files is {hard}", remedy)
