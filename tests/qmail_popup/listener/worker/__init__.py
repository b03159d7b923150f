"""Tests of what stands in listener/worker/."""
