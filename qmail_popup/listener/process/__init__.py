"""What each process is made of: its privileges, its event loop, its sockets, its output."""
