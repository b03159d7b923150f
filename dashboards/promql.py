"""The queries' common parts: which series the chosen hosts have, and what is made of them.

Owns how a query names its hosts. It knows no panel and no data source.
"""

HOSTS = 'job=~"$job", instance=~"$instance"'
"""The matchers in every query: what was chosen at the top of the dashboard."""

ATTEMPTS = "qmail_popup_auth_attempts_total"
SESSIONS = "qmail_popup_sessions_total"
ACCEPTED = 'result="accepted"'
REJECTED = 'result="rejected"'

FAILURES = "qmail_popup_auth_failures_total"
FAILED = 'reason="credentials"'
BROKEN = 'reason=~"temporary|misuse|crashed"'
REFUSALS = "qmail_popup_auth_rejected_duration_seconds_bucket"


def series(name: str, *matchers: str) -> str:
    """Return the selector of a metric of the chosen hosts."""
    return f"{name}{{{', '.join((HOSTS, *matchers))}}}"


def rate(name: str, *matchers: str) -> str:
    """Return a counter's rate, a second."""
    return f"rate({series(name, *matchers)}[$__rate_interval])"


def ten_minutes(name: str, *matchers: str, by: str = "") -> str:
    """Return what a counter grows by in ten minutes, in all or for each value of the labels `by`.

    The unit of the rules and of the runbooks: most mail hosts see less than one login a second.
    """
    return f"600 * {summed(rate(name, *matchers), by)}"


def grown(name: str, *matchers: str, by: str = "") -> str:
    """Return what a counter grew by in the dashboard's time range, in all or for each value of `by`."""
    return summed(f"increase({series(name, *matchers)}[$__range])", by)


def quantile(share: float, name: str, *matchers: str) -> str:
    """Return the value that this share of a histogram's observations is below."""
    return f"histogram_quantile({share}, {summed(rate(name, *matchers), 'le')})"


def cells(name: str) -> str:
    """Return what a histogram's buckets grew by, point by point, over all hosts.

    What is le="1.0" of a host that is scraped is le="1" of one that pushes: both have to be one bucket.
    """
    grew = f"increase({series(name)}[$__rate_interval])"
    return summed(f'label_replace({grew}, "le", "$1", "le", "(.+)[.]0")', "le")


def quantile_soon(share: float) -> str:
    """Return the time that this share of the refusals within ten seconds takes; 5 where it is longer.

    The bound is 10.0 where Prometheus scrapes the sidecar, and 10 where a host pushes: a Pushgateway writes
    it differently.
    """
    soon = rate(REFUSALS, 'le!~"30|30.0|[+]Inf"')
    ends = f'label_replace({soon}, "le", "+Inf", "le", "10|10.0")'
    return f"histogram_quantile({share}, {summed(ends, 'le')})"


def top(most: int, expr: str) -> str:
    """Return the highest series of an expression: a fleet has more hosts than a panel has room."""
    return f"topk({most}, {expr})"


def summed(expr: str, by: str = "") -> str:
    """Return the sum of an expression, in all or for each value of the labels `by`."""
    return f"sum by ({by}) ({expr})" if by else f"sum({expr})"
