"""Exports spans and metrics to an OpenTelemetry collector."""
