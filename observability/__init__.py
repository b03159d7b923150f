"""Telemetry of qmail-popup: the mirror in each popup, and the sidecar that counts for all of them."""
