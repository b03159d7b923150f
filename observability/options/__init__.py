"""The options of the command line: kinds of values, tables, and those that only look at a sidecar."""
