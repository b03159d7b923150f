"""Helpers shared by several tests; a helper of a single test stays in its module."""
