"""Tests of what stands in listener/ipc/."""
