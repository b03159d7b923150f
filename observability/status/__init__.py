"""The sidecar's state for people: a web page, a terminal, a monitoring plugin."""
