"""Mutation testing: `python -m tests.mutants`."""
