"""The picture in the README: failed logins by host and the alerts that fired, from a real Prometheus.

It is a plain plot of two queries. What a dashboard looks like, Grafana shows.
"""

import math
from pathlib import Path

from matplotlib.figure import Figure

from tests.support.asking import Source

FAILED = 'sum by (instance) (rate(qmail_popup_auth_failures_total{reason="credentials"}[$__rate_interval]))'
FIRING = 'max by (alertname) (ALERTS{alertstate="firing"})'
_COLOURS = ("#1f60c4", "#e02f44", "#56a64b", "#ff9830", "#8f3bb8")


def draw(source: Source, path: Path) -> None:
    """Draw what happened in the stretch of time that source looks at into a PNG."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="seconds", ylabel="failed logins a second")
    axes.set_prop_cycle(color=_COLOURS)
    seconds = [moment - source.times[0] for moment in source.times]
    for series in sorted(source.over_time(FAILED), key=lambda series: series.labels["instance"]):
        axes.plot(seconds, series.values, label=series.labels["instance"], linewidth=1.4)
    for number, series in enumerate(source.over_time(FIRING)):
        fired = [at for at, value in zip(seconds, series.values, strict=True) if not math.isnan(value)]
        axes.axvspan(min(fired), max(fired), color="#e02f44", alpha=0.08)
        name = series.labels["alertname"]
        axes.text(
            min(fired), 0.97 - 0.07 * number, name, transform=axes.get_xaxis_transform(), fontsize=8, va="top"
        )
    axes.legend(loc="upper right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)
