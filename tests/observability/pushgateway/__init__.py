"""Tests of observability/pushgateway/."""
