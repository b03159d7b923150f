"""Tests of what stands in listener/supervisor/."""
