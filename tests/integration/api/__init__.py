"""The HTTP surface over TLS, on the real store."""
