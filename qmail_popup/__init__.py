"""qmail-popup, observable edition: reads a POP3 user name and password and runs a subprogram with them.

Standard library only. Each module opens with what it owns; `__main__` puts them together.
"""

VERSION = "0.1.0"
