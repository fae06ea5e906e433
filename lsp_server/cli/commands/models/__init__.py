"""`mellum-lsp models` and its commands."""
