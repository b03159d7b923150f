"""The JSON log of sessions, and the sidecar's own messages."""
