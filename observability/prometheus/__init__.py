"""The totals for Prometheus: over HTTP and as a textfile."""
