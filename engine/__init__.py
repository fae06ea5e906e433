"""From a prompt to a suggestion: model, KV state, decoding, stopping, trimming. Knows no LSP and no workspace."""
