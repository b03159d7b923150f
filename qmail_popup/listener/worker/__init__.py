"""A worker: serves clients up to the login, with or without TLS, and has no privileges."""
