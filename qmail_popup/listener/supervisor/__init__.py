"""The first process: starts and restarts the others, and hands over on a reload."""
