"""The popup's measurements: what a session costs, how many there can be, and what an idle one holds."""

from pathlib import Path

from tests.bench.cost import METHOD, measure
from tests.bench.rate import idle_memory, rates

COST_MOST = 1.00


def run(prefix: Path) -> list[str]:
    """Measure the popup that is installed at `prefix`; return a line for each figure."""
    popup = prefix / "bin/qmail-popup"
    cost = measure(prefix, {"popup": {}})
    private, shared_in_part = idle_memory(popup)
    logins = ", ".join(f"{rate:.0f}/s at {clients}" for clients, rate in rates(popup, (1, 8, 32)).items())
    return [
        (
            f"CPU of a session (greeting, USER, QUIT), of the bare interpreter's {cost['bare']:.2f} ms: "
            f"{cost['popup']:.3f} (at most {COST_MOST:.2f}; {METHOD})"
        ),
        f"logins through tcpserver, null authenticator, by clients at once: {logins}",
        f"an idle session: {private} KiB private, {shared_in_part} KiB PSS",
    ]
