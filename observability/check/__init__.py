"""`--check-config`: report what would keep a sidecar with these options from working, before it starts."""
