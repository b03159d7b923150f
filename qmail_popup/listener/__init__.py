"""qmail-popup-listener: a resident server, with what reads from strangers kept apart from what holds root.

Three kinds of process, each forked from the first: `supervisor` binds, starts the others and starts them
again; `worker` speaks POP3 up to the login, and has no privileges; `spawner` starts subprograms, writes the
record and sends the event. `frames` is all that a worker can say to the spawner.
"""
