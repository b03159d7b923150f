"""The store: the values of all series and the identities that were counted, in one SQLite file."""
