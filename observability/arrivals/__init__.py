"""What arrives: hostile bytes from the socket and the spool, read into events."""
