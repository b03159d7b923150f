"""A real browser, Debian's headless chromium: renders a page and reports its console messages.

Driven by the DevTools protocol over two pipes (--remote-debugging-pipe): JSON messages, each terminated by a
NUL. It has its own directory, and connects only to the server of the page.
"""

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from tests.support.waiting import TIMEOUT

PROGRAM = "chromium"
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # root cannot use it
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "about:blank",
)
_COMPLAINTS = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Audits.issueAdded"}
_NONE: Mapping[str, Any] = MappingProxyType({})
_PIECE = 1 << 20


class Browser:
    """One browser with one page, for as long as the context lasts.

    complaints: console messages, including violations of the page's policy
    """

    def __init__(self, directory: Path) -> None:
        """directory: for its files."""
        self._directory = directory
        self._waiting = b""
        self._number = 0
        self._session = ""
        self._events: list[str] = []
        self.complaints: list[str] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            to_read, self._write = os.pipe()
            self._read, to_write = os.pipe()
            for fd in (to_read, to_write):
                stack.callback(os.close, fd)
            self._process = self._started(to_read, to_write)
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        found = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = found["sessionId"]
        for domain in ("Page", "Log", "Runtime"):
            self._ask(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in (self._read, self._write):
            os.close(fd)  # closing its pipes ends it
        try:
            self._process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def show(self, url: str, width: int, *, dark: bool) -> None:
        """Load a page with a width and a colour scheme, and wait until it is drawn."""
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._events.clear()
        self._ask("Page.navigate", {"url": url})
        self._deadline = time.monotonic() + TIMEOUT
        while "Page.loadEventFired" not in self._events:
            self._take()

    def ask(self, expression: str) -> Any:  # noqa: ANN401  any JSON value
        """Return the value of an expression on the current page."""
        answer = self._ask("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """Return the whole page as PNG."""
        answer = self._ask("Page.captureScreenshot", {"captureBeyondViewport": True})
        return base64.b64decode(answer["data"])

    def _started(self, to_read: int, to_write: int) -> subprocess.Popen[bytes]:
        # It reads from descriptor 3 and writes to 4.
        script = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        command: Sequence[str] = (PROGRAM, f"--user-data-dir={self._directory}", *_OPTIONS)
        return subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            env={**os.environ, "HOME": str(self._directory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(to_read, to_write),
        )

    def _ask(self, method: str, parameters: Mapping[str, Any] = _NONE) -> dict[str, Any]:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": dict(parameters)}
        message = {**asked, "sessionId": self._session} if self._session else asked
        os.write(self._write, json.dumps(message).encode() + b"\0")
        self._deadline = time.monotonic() + TIMEOUT
        while True:
            told = self._take()
            if told.get("id") == self._number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    def _take(self) -> dict[str, Any]:
        """Return the next message, and note complaints."""
        while b"\0" not in self._waiting:
            ready, _, _ = select.select([self._read], [], [], max(0.0, self._deadline - time.monotonic()))
            assert ready, "the browser says nothing"
            data = os.read(self._read, _PIECE)
            assert data, "the browser has ended"
            self._waiting += data
        line, _, self._waiting = self._waiting.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        self._events.append(told.get("method", ""))
        if told.get("method") in _COMPLAINTS:
            self.complaints.append(json.dumps(told["params"]))
        return told
