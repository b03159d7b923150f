"""Tests of observability/otlp/."""
