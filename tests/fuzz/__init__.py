"""Streams of bytes that nobody would think of, cut anywhere; FUZZ=20 makes 20 times as many."""
