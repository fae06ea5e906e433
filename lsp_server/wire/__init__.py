"""From bytes to messages and back: LSP's framing, its order, and the logs."""
