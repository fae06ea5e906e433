"""The connection: bytes, frames, messages, the order of a session, and the logs."""
