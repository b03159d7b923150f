"""TLS: certificates and keys, and a filter between plaintext and the wire."""
