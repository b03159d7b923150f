"""The store: totals and the identities that were counted, in one SQLite file."""
