"""The spawner: keeps root's privileges, because it starts the subprograms."""
