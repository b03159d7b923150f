"""The spawner: the one process that keeps its privileges, because it starts the subprograms."""
