"""Tests of observability/log/."""
