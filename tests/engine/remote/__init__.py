"""The remote engine against real servers: over HTTP on loopback, with TLS, killed, slow and lying."""
