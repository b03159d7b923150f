"""Tests of what stands in listener/rules/."""
