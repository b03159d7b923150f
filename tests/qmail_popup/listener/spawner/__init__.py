"""Tests of what stands in listener/spawner/."""
