"""Tools that several tests share; what a single test needs stays with it."""
