"""The totals as Prometheus reads them: over HTTP and as a textfile."""
