"""Everything fails that can fail, in real processes, and every record counts exactly once."""
