"""Untrusted input: bytes from the socket, the spool and logs, parsed into events."""
