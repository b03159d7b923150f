"""A worker: speaks with clients up to the login, in TLS or in clear, and has no privileges."""
