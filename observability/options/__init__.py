"""The command line's options: value types, tables, and the options that only inspect a sidecar."""
