"""What TLS needs: certificates and keys, and a filter between bytes in clear and on the wire."""
