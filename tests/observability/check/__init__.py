"""Tests of observability/check/."""
