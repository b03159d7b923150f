"""Tests of observability/prometheus/."""
