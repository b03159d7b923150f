"""Tests of observability/status/."""
