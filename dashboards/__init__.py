"""Grafana dashboards, the rules and alerts behind them, and runbooks.

`python -m dashboards.build` writes the dashboards as the JSON files in this directory, for Grafana to import.
`rules/` and `runbooks.md` are written by hand.
"""
