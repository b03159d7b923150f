"""Tests of what stands in listener/process/."""
