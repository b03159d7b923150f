"""The HTTP server of a running sidecar: what monitoring asks for, and what people look at."""

import time
from contextlib import ExitStack, closing

from observability.arrivals.listener import http_clients_allowed
from observability.prometheus.collector import Sources, registry
from observability.prometheus.endpoint import Endpoint
from observability.prometheus.pages import Pages
from observability.settings import Settings
from observability.status.overview import Overview
from observability.store.database import Store
from observability.store.history import History


def overview(settings: Settings, store: Store, sources: Sources) -> tuple[Overview, History]:
    """Return what the sidecar shows of itself, and the history, which the loop keeps."""
    history = History(store, time.time, sources.active or (lambda: None))
    pushes, spans = bool(settings.push), settings.otlp_spans
    return Overview(store, history, sources, pushes=pushes, spans=spans), history


def begin(settings: Settings, sources: Sources, shown: Overview, stack: ExitStack) -> Endpoint:
    """Serve all pages; UnusableError where that cannot be."""
    pages = Pages(registry(sources), lambda: shown.takes_commits, shown.pages)
    place = settings.host, settings.port
    return stack.enter_context(closing(Endpoint(*place, pages.answer, settings.tls, http_clients_allowed())))
