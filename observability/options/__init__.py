"""The command line's options: each kind of value, and those that only look at a sidecar."""
