"""qmail-popup, observable edition: reads a POP3 user name and password, then runs a subprogram with them.

Standard library only. Each module's docstring says what it owns; `__main__` puts the parts together.
"""

VERSION = "0.1.0"
