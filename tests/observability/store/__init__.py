"""Tests of observability/store/."""
