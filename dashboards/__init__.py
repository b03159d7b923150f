"""What an operator looks at: Grafana dashboards, the rules and alerts behind them, and runbooks.

The dashboards are built by `python -m dashboards.build` into the JSON files that lie here, which is what
Grafana imports. `rules/` and `runbooks.md` stand by themselves.
"""
