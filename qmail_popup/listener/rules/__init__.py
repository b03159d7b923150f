"""Who may connect, by the rules of tcprules(1): the file, and the process that reads it."""
