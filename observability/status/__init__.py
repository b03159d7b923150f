"""How things stand, for people: a page, a terminal, a monitoring plugin."""
