"""Tests of observability/options/."""
