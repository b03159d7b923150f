"""Spans and metrics on their way to an OpenTelemetry collector."""
