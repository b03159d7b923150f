"""Tests of what stands in listener/tls/."""
