"""Building blocks of the queries: the series of the selected hosts, and functions over them.

Owns how a query selects hosts. Knows no panel and no data source.
"""

HOSTS = 'job=~"$job", instance=~"$instance"'
"""The matchers in every query: the selection at the top of the dashboard."""

ATTEMPTS = "qmail_popup_auth_attempts_total"
SESSIONS = "qmail_popup_sessions_total"
ACCEPTED = 'result="accepted"'
REJECTED = 'result="rejected"'

FAILURES = "qmail_popup_auth_failures_total"
FAILED = 'reason="credentials"'
BROKEN = 'reason=~"temporary|misuse|crashed"'
REFUSALS = "qmail_popup_auth_rejected_duration_seconds_bucket"


def series(name: str, *matchers: str) -> str:
    """Return a selector of a metric for the selected hosts."""
    return f"{name}{{{', '.join((HOSTS, *matchers))}}}"


def rate(name: str, *matchers: str) -> str:
    """Return a counter's rate per second."""
    return f"rate({series(name, *matchers)}[$__rate_interval])"


def ten_minutes(name: str, *matchers: str, by: str = "") -> str:
    """Return a counter's increase in ten minutes, in total or for each value of the labels `by`.

    The unit of the rules and runbooks: most mail hosts see less than one login a second.
    """
    return f"600 * {summed(rate(name, *matchers), by)}"


def grown(name: str, *matchers: str, by: str = "") -> str:
    """Return a counter's increase in the dashboard's time range, in total or for each value of `by`."""
    return summed(f"increase({series(name, *matchers)}[$__range])", by)


def quantile(share: float, name: str, *matchers: str) -> str:
    """Return a quantile of a histogram."""
    return f"histogram_quantile({share}, {summed(rate(name, *matchers), 'le')})"


def cells(name: str) -> str:
    """Return the increase of a histogram's buckets over time, summed over all hosts.

    A scraped host has le="1.0" where a pushing host has le="1"; the two must become one bucket.
    """
    grew = f"increase({series(name)}[$__rate_interval])"
    return summed(f'label_replace({grew}, "le", "$1", "le", "(.+)[.]0")', "le")


def quantile_soon(share: float) -> str:
    """Return a quantile of the refusals that took at most ten seconds; 5 stands for five to ten.

    The bound is 10.0 if Prometheus scrapes the sidecar, but 10 if the host pushes: a Pushgateway writes it
    differently.
    """
    soon = rate(REFUSALS, 'le!~"30|30.0|[+]Inf"')
    ends = f'label_replace({soon}, "le", "+Inf", "le", "10|10.0")'
    return f"histogram_quantile({share}, {summed(ends, 'le')})"


def top(most: int, expr: str) -> str:
    """Return the highest series of an expression: a fleet has more hosts than a panel can show."""
    return f"topk({most}, {expr})"


def summed(expr: str, by: str = "") -> str:
    """Return the sum of an expression, in total or for each value of the labels `by`."""
    return f"sum by ({by}) ({expr})" if by else f"sum({expr})"
