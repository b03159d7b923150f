"""The first process: starts the others, restarts what has ended, and hands over on a reload."""
