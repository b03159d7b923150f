"""The running sidecar's HTTP server: pages for monitoring and for people."""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from observability.arrivals.listener import http_clients_allowed
from observability.prometheus.collector import Sources, registry
from observability.prometheus.endpoint import Endpoint
from observability.prometheus.pages import Pages
from observability.settings import Settings
from observability.status.overview import Overview
from observability.store.database import Store
from observability.store.history import History


def begin(
    settings: Settings,
    store: Store,
    sources: Sources,
    tasks: dict[str, Callable[[], object]],
    stack: ExitStack,
) -> tuple[Endpoint, Overview]:
    """Serve all pages; UnusableError if that fails. Adds the history's periodic task to tasks."""
    history = History(store, time.time, sources.active)
    tasks["history"] = history.tick
    shown = Overview(store, history, sources, pushes=bool(settings.push), spans=settings.otlp_spans)
    pages = Pages(registry(sources), lambda: store.takes_commits, shown.pages)
    place = settings.host, settings.port
    endpoint = Endpoint(*place, pages.answer, settings.tls, http_clients_allowed())
    return stack.enter_context(closing(endpoint)), shown
