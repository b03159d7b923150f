"""Pushing the totals to a Pushgateway."""
