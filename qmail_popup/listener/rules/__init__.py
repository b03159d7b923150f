"""Access rules compiled by tcprules(1): the file, and the process that reads it."""
