"""Whole sessions of a popup, each told as a vector: what it is given, and all that must come of it."""
