"""Tests of observability/arrivals/."""
