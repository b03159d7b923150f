"""Fault injection in real processes: whatever fails, every record counts exactly once."""
