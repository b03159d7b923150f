"""qmail-popup-listener: a resident server; code that reads from the network does not run as root.

`supervisor` owns the listening sockets and starts and restarts the other processes. `worker` speaks POP3 up
to the login and has no privileges. `spawner` starts subprograms, writes the record and sends the event. With
--rules, `rules.reader` looks clients up. `ipc.frames` defines everything a worker can send the spawner.
"""
