"""Parts that every process uses: privileges, event loop, sockets, output."""
