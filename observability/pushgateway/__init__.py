"""The totals on their way to a Pushgateway."""
