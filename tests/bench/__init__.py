"""Measurements of what is promised; each is a ratio within one run, because machines differ and are busy."""
