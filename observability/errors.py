"""What ends the sidecar before it serves."""


class UnusableError(Exception):
    """Something that the operator named cannot be used; the message says why, in one line."""
