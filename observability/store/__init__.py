"""The store: values of all series and the identities already counted, in one SQLite file."""
