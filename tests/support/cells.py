"""Counters of hosts, by method and protocol, from rates that change once: series as exported by a sidecar.

Owns the mapping of an attempt to families: an accepted login counts in attempts, sessions and exits, a
refusal also in failures by reason and in the histogram of refusals. Must not know the rules.
"""

from collections import Counter
from collections.abc import Mapping

from observability.store import families

EVERY = 2
"""Minutes between two samples."""

PACE = (EVERY, 4)
"""Minutes between two samples, and between two evaluations."""

CHANGE = 80
"""The minute at which the rates change; the rules need the time before."""

END = 124
"""The last minute."""

Rates = Mapping[str, float | tuple[float, float]]
"""Events per minute, before and after the change.

A key is `accepted`, a reason, or how a session without an attempt ended, with method and protocol if it has
them: `credentials User POP3`, `quit POP3`.
"""

_REASONS = ("credentials", "session", "temporary", "misuse", "crashed", "tls_required")
_STATUS = {"credentials": "1", "session": "1", "temporary": "111", "misuse": "2", "crashed": "signal"}
_BUCKET = "qmail_popup_auth_rejected_duration_seconds_bucket"


_ALL = [
    f'qmail_popup_{family.name}_total{{{{job="{{job}}",instance="{{instance}}",{labels}}}}}'
    for family in (families.ATTEMPTS, families.FAILURES, families.SESSIONS, families.EXITS)
    for labels in (
        ",".join(f'{label}="{value}"' for label, value in zip(family.labels, values, strict=True))
        for values in family.values
    )
]


def host(instance: str, rates: Rates, job: str = "qmail-popup", *, idle: bool = True) -> dict[str, str]:
    """Return all series of the host in promtool's notation; most are constant.

    idle: also those of which `rates` says nothing; they are the dearest part of a case
    """
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for name in _ALL if idle else ():
        before[name.format(job=job, instance=instance)] += 0
    for key, rate in rates.items():
        first, then = rate if isinstance(rate, tuple) else (rate, rate)
        for family, labels in _counted(*key.split()):
            name = f'{family}{{job="{job}",instance="{instance}",{labels}}}'
            before[name] += first  # type: ignore[assignment]  # counted in parts
            after[name] += then  # type: ignore[assignment]
    return {
        name: _values(1000 * bool(before[name] or after[name]), before[name], after[name]) for name in before
    }


def gauge(
    name: str, instance: str, first: float, slope: float = 0, job: str = "qmail-popup"
) -> dict[str, str]:
    """Return a gauge that is constant until the change and then grows."""
    return {f'{name}{{job="{job}",instance="{instance}"}}': _values(first, 0, slope)}


def only(series: Mapping[str, str], *families: str) -> dict[str, str]:
    """Return the series of a host that exports only these families."""
    return {name: values for name, values in series.items() if name.partition("{")[0] in families}


def _values(first: float, before: float, after: float) -> str:
    if not first + before + after:
        return f"0x{END // EVERY}"
    before, after = before * EVERY, after * EVERY
    past = CHANGE // EVERY
    changed = first + before * past + after + 0.001  # promtool sums up, and rounding down is a reset
    return f"{first}{before:+}x{past} {changed}{after:+}x{END // EVERY - past}"


def _counted(what: str, *labels: str) -> list[tuple[str, str]]:
    """Return the series in which one such event counts."""
    if what == "accepted" or what in _REASONS:
        return _attempt(what, *labels)
    (protocol,) = labels
    return [("qmail_popup_sessions_total", f'ended="{what}",protocol="{protocol}"')]


def _attempt(what: str, method: str, protocol: str) -> list[tuple[str, str]]:
    result, both = (
        "accepted" if what == "accepted" else "rejected",
        f'method="{method}",protocol="{protocol}"',
    )
    ended = {"crashed": "crashed", "tls_required": "tls_required"}.get(what, result)
    made = [
        ("qmail_popup_auth_attempts_total", f'result="{result}",{both}'),
        ("qmail_popup_sessions_total", f'ended="{ended}",protocol="{protocol}"'),
    ]
    if what != "tls_required":
        made.append(("qmail_popup_subprogram_exits_total", f'status="{_STATUS.get(what, "0")}"'))
    if result == "accepted":
        return made
    made.append(("qmail_popup_auth_failures_total", f'reason="{what}",{both}'))
    bounds = ("+Inf",) if what == "session" else ("10.0", "+Inf")
    return made + [(_BUCKET, f'le="{bound}",protocol="{protocol}"') for bound in bounds if method != "Any"]
